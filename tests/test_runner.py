"""Background tasks: they run again whatever happens, and failures are logged as outages."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, NoReturn

import pytest
import structlog
from structlog.testing import capture_logs

from tests.support.clocks import ManualClock
from tokensvc.errors import StoreUnavailable
from tokensvc.outages import MAX_LINES_PER_MINUTE, FailureLog
from tokensvc.runner import IDLE, BackgroundTask, Lifecycle, RunResult, stop_all

SOON = 5.0
"""More than anything here takes; it is reached only by a failing test."""


class Work:
    """A task's function: records when it ran, and calls `action`."""

    def __init__(self) -> None:
        self.ran_at: queue.Queue[float] = queue.Queue()
        self.action: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        action = self.action  # before a test that has seen this run sets the next one's
        self.ran_at.put(time.monotonic())
        action()

    def wait(self) -> float:
        """Wait for one more run; returns when it was."""
        return self.ran_at.get(timeout=SOON)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def make_task(work: Work, failures: list[str], every: float = 0.001, backoff_max: float = 0.001) -> BackgroundTask:
    return BackgroundTask(
        "work", work, every_seconds=every, backoff_max_seconds=backoff_max, on_failure=failures.append
    )


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def test_a_task_runs_immediately_and_then_repeatedly(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures)
    task.start()
    for _ in range(5):
        work.wait()
    task.stop()
    assert not failures


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("tsk_secret"), RecursionError(), KeyError(1)])
def test_no_failure_ends_the_task(work: Work, failures: list[str], error: Exception) -> None:
    work.action = raising(error)
    task = make_task(work, failures)
    with capture_logs() as lines:
        task.start()
        for _ in range(4):
            work.wait()
        succeeded = threading.Event()
        work.action = succeeded.set
        assert succeeded.wait(SOON)
        task.stop()
    assert len(failures) >= 4
    assert set(failures) == {"work"}
    failed, recovered = [line for line in lines if line["log_level"] in {"warning", "info"}]
    assert failed["event"] in {"background task failed", "store unavailable"}
    assert recovered["event"] in {"background task recovered", "store available again"}
    assert recovered["failures"] >= 4


def test_the_message_of_a_foreign_exception_is_not_logged(work: Work, failures: list[str]) -> None:
    """It may contain anything, so only the type is logged."""
    logged = {}
    for error in (StoreUnavailable("the store cannot be reached", detail="host db.test"), ValueError("tsk_secret")):
        work.action = raising(error)
        with capture_logs() as lines:
            make_task(work, failures)._attempt()
        logged[type(error)] = lines[0]
    assert logged[StoreUnavailable]["code"] == "store_unavailable"
    assert logged[StoreUnavailable]["error"] == "the store cannot be reached: host db.test"
    assert logged[ValueError]["code"] == "internal_error"
    assert logged[ValueError]["error"] == "ValueError"
    assert "tsk_secret" not in str(logged)


def test_wake_runs_the_task_without_waiting(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures, every=3600, backoff_max=3600)
    task.start()
    work.wait()
    for _ in range(3):
        task.wake()
        work.wait()
    task.stop()


def test_setting_the_wake_event_wakes_the_task(work: Work, failures: list[str]) -> None:
    wake = threading.Event()
    task = BackgroundTask(
        "work", work, every_seconds=60, backoff_max_seconds=60, on_failure=failures.append, wake_event=wake
    )
    task.start()
    work.wait()
    wake.set()
    work.wait()
    task.stop()


def test_a_wake_during_a_run_is_not_lost(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures, every=3600, backoff_max=3600)
    running, proceed = threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        assert proceed.wait(SOON)

    work.action = block
    task.start()
    assert running.wait(SOON)
    task.wake()
    work.action = lambda: None
    proceed.set()
    work.wait()
    work.wait()
    task.stop()


def test_the_pause_has_jitter_within_a_tenth(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures, every=10, backoff_max=100)
    pauses = [task._pause() for _ in range(500)]
    assert all(9 <= pause <= 11 for pause in pauses)
    assert min(pauses) < 9.3 < 10.7 < max(pauses), "workers do not run in lockstep"


def test_failures_double_the_pause_up_to_the_cap_until_a_success(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures, every=1, backoff_max=30)
    work.action = raising(ValueError())
    pauses = []
    for _ in range(60):
        pauses.append(task._pause())
        task._attempt()
    for failed, pause in enumerate(pauses):
        middle = min(2.0**failed, 30)
        assert 0.9 * middle <= pause <= 1.1 * middle
    work.action = lambda: None
    task._attempt()
    assert task._pause() <= 1.1


def test_a_cap_below_the_interval_does_not_shorten_it(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures, every=10, backoff_max=1)
    work.action = raising(ValueError())
    task._attempt()
    assert 9 <= task._pause() <= 11


def test_first_run_finished_is_set_even_if_the_run_failed(work: Work, failures: list[str]) -> None:
    work.action = raising(ValueError())
    task = make_task(work, failures, every=3600, backoff_max=3600)
    assert not task.first_run_finished.is_set()
    task.start()
    assert task.first_run_finished.wait(SOON)
    task.stop()


def test_stopping_waits_for_the_current_run_and_ends_the_pause(work: Work, failures: list[str]) -> None:
    task = make_task(work, failures, every=3600, backoff_max=3600)
    finished = threading.Event()
    work.action = finished.set
    task.start()
    work.wait()
    started = time.monotonic()
    task.stop()
    assert finished.is_set()
    assert time.monotonic() - started < SOON
    assert work.ran_at.empty()


@pytest.mark.slow
def test_stopping_at_any_moment_never_waits_for_a_pause(work: Work, failures: list[str]) -> None:
    """Also between a pause and the next run, where the event of the stop could be cleared."""
    for _ in range(300):
        task = make_task(work, failures, every=3600, backoff_max=3600)
        task.start()
        work.wait()
        task.wake()
        task.stop()
        assert not task._thread.is_alive()


def test_on_stop_runs_after_the_last_run(failures: list[str]) -> None:
    calls: list[str] = []
    task = BackgroundTask(
        "work",
        lambda: calls.append("run"),
        every_seconds=3600,
        backoff_max_seconds=3600,
        on_failure=failures.append,
        on_stop=lambda: calls.append("stop"),
    )
    task.start()
    assert task.first_run_finished.wait(SOON)
    task.stop()
    assert calls == ["run", "stop"]


def test_tasks_stop_in_parallel(failures: list[str]) -> None:
    """Each `on_stop` waits for all the others: if they ran one after another, they would wait for ever."""
    together = threading.Barrier(3, timeout=SOON)

    def arrive() -> None:
        together.wait()

    tasks = [
        BackgroundTask(
            str(number),
            lambda: None,
            every_seconds=3600,
            backoff_max_seconds=3600,
            on_failure=failures.append,
            on_stop=arrive,
        )
        for number in range(3)
    ]
    for task in tasks:
        task.start()
    stop_all(tasks)
    assert not failures
    assert not any(task._thread.is_alive() for task in tasks)


def test_a_lifecycle_starts_in_order_waits_for_the_first_task_and_stops_all(failures: list[str]) -> None:
    started, stopped, go = queue.Queue[str](), queue.Queue[str](), threading.Event()

    def task(name: str) -> BackgroundTask:
        def run_once() -> None:
            started.put(name)
            assert name != "first" or go.wait(SOON)

        return BackgroundTask(
            name,
            run_once,
            every_seconds=60,
            backoff_max_seconds=60,
            on_failure=failures.append,
            on_stop=lambda: stopped.put(name),
        )

    lifecycle = Lifecycle(first=task("first"), others=(task("second"), task("third")))
    assert [task.name for task in lifecycle.tasks] == ["first", "second", "third"]
    lifecycle.start()
    assert {started.get(timeout=SOON) for _ in range(3)} == {"first", "second", "third"}
    waiting = threading.Thread(target=lifecycle.wait_until_started)
    waiting.start()
    assert waiting.is_alive()
    go.set()
    waiting.join(SOON)
    assert not waiting.is_alive()
    lifecycle.stop()
    assert {stopped.get(timeout=SOON) for _ in range(3)} == {"first", "second", "third"}
    assert failures == []


def test_stopping_a_task_that_never_started_does_nothing(work: Work, failures: list[str]) -> None:
    make_task(work, failures).stop()
    assert work.ran_at.empty()


def test_a_task_may_return_when_it_wants_to_run_again(failures: list[str]) -> None:
    """Whatever its interval is. After a failure the interval applies."""
    ran: queue.Queue[float] = queue.Queue()

    def work() -> float:
        ran.put(time.monotonic())
        return 0.001

    task = BackgroundTask("work", work, every_seconds=60, backoff_max_seconds=60, on_failure=failures.append)
    task.start()
    for _ in range(5):
        ran.get(timeout=SOON)
    task.stop()
    assert not failures


class Outage:
    """Runs tasks by hand on a clock of its own: one run a second."""

    def __init__(self, failures: list[str], clock: ManualClock) -> None:
        self._clock = clock
        self._log = FailureLog(clock.monotonic)
        self._failures = failures
        self._actions: dict[str, Callable[[], float | Literal[RunResult.IDLE] | None]] = {}
        self._tasks: dict[str, BackgroundTask] = {}

    def run(
        self, action: Callable[[], float | Literal[RunResult.IDLE] | None], seconds: int = 1, name: str = "work"
    ) -> list[tuple[str, float]]:
        """Run the task for some seconds; returns the event and the `seconds` of each log line."""
        self._actions[name] = action
        if name not in self._tasks:
            self._tasks[name] = BackgroundTask(
                name,
                lambda: self._actions[name](),
                every_seconds=1,
                backoff_max_seconds=1,
                on_failure=self._failures.append,
                failure_log=self._log,
            )
        with capture_logs() as lines:
            for _ in range(seconds):
                self._tasks[name]._attempt()
                self._clock.advance(1)
        return [(line["event"], line["seconds"]) for line in lines]


@pytest.fixture
def outage(failures: list[str], clock: ManualClock) -> Outage:
    return Outage(failures, clock)


UNREACHABLE = raising(StoreUnavailable("the store cannot be reached"))


def test_an_outage_has_a_line_when_it_starts_one_a_minute_and_one_when_it_ends(
    outage: Outage, failures: list[str]
) -> None:
    lines = outage.run(UNREACHABLE, 150)
    still = "store still unavailable"
    assert lines == [("store unavailable", 0), (still, 60), (still, 120)]
    assert outage.run(lambda: None, 150) == [("store available again", 150)]
    assert len(failures) == 150, "each failure is counted, whether it is logged or not"


def test_a_new_cause_is_logged_immediately(outage: Outage) -> None:
    outage.run(raising(StoreUnavailable("the store cannot be reached")), 10)
    full = raising(StoreUnavailable("the store's disk is full"))
    assert outage.run(full, 10) == [("store unavailable", 10)]
    assert outage.run(raising(ValueError()), 10) == [("background task failed", 0)]
    assert outage.run(UNREACHABLE, 10) == [], "this outage already had that cause"


def test_alternating_causes_are_not_logged_each_time(outage: Outage) -> None:
    slow, lines = raising(StoreUnavailable("the store did not respond in time")), []
    for _ in range(60):
        lines += outage.run(UNREACHABLE) + outage.run(slow)
    assert len(lines) == 2 + 1


def test_a_cause_that_changes_each_time_has_few_lines_a_minute(outage: Outage) -> None:
    lines = [line for n in range(600) for line in outage.run(raising(StoreUnavailable(f"failure {n}")))]
    assert len(lines) <= 10 * (MAX_LINES_PER_MINUTE + 1)


def test_an_outage_that_comes_and_goes_each_second_has_few_lines_a_minute(outage: Outage) -> None:
    lines = [line for _ in range(300) for line in outage.run(UNREACHABLE) + outage.run(lambda: None)]
    assert len(lines) <= 10 * 2 * (MAX_LINES_PER_MINUTE + 1)
    assert len([line for line in lines if "again" in line[0]]) == len(lines) / 2, "the end is logged if the start was"


def test_a_run_that_attempts_nothing_ends_no_outage(outage: Outage) -> None:
    outage.run(UNREACHABLE)
    assert outage.run(lambda: IDLE) == []
    assert outage.run(UNREACHABLE) == []
    assert outage.run(lambda: 1.0) == [("store available again", 3)]


def test_the_tasks_of_a_process_share_one_outage_of_the_store(outage: Outage) -> None:
    assert len(outage.run(UNREACHABLE, 5)) == 1
    assert outage.run(UNREACHABLE, 5, "other") == []
    assert outage.run(lambda: None, 5, "third") == [], "a task that does not use the store proves nothing"
    assert len(outage.run(lambda: None, 5)) == 1
    assert outage.run(lambda: None, 5, "other") == []


def test_other_failures_of_two_tasks_are_separate_outages(outage: Outage) -> None:
    assert len(outage.run(raising(ValueError()))) == 1
    assert len(outage.run(raising(ValueError()), 1, "other")) == 1
    assert outage.run(lambda: None) == [("background task recovered", 2)]


def test_on_stop_ends_no_outage(failures: list[str]) -> None:
    task = BackgroundTask("work", UNREACHABLE, every_seconds=3600, backoff_max_seconds=3600, on_failure=failures.append)
    with capture_logs() as lines:
        task.start()
        assert task.first_run_finished.wait(SOON)
        task.stop()
    assert [line["event"] for line in lines] == ["store unavailable"]
