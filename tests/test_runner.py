"""A background duty runs on, whatever happens to it."""

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
from tokensvc.runner import IDLE, Lifecycle, BackgroundTask, RunResult, stop_all

SOON = 5.0
"""More than anything here takes; it is reached only by a failing test."""


class Duty:
    """A duty that tells when it ran and does what it was told."""

    def __init__(self) -> None:
        self.ran: queue.Queue[float] = queue.Queue()
        self.does: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.ran.put(time.monotonic())
        self.does()

    def wait(self) -> float:
        """Until it ran once more; when."""
        return self.ran.get(timeout=SOON)


@pytest.fixture
def duty() -> Duty:
    return Duty()


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def loop_of(duty: Duty, failures: list[str], every: float = 0.001, most: float = 0.001) -> BackgroundTask:
    return BackgroundTask("duty", duty, every_seconds=every, backoff_max_seconds=most, on_failure=failures.append)


def fail(problem: BaseException) -> Callable[[], NoReturn]:
    def raising() -> NoReturn:
        raise problem

    return raising


def test_a_duty_runs_at_once_and_again_and_again(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures)
    loop.start()
    for _ in range(5):
        duty.wait()
    loop.stop()
    assert not failures


@pytest.mark.parametrize("problem", [StoreUnavailable("away"), ValueError("tsk_secret"), RecursionError(), KeyError(1)])
def test_no_failure_ends_the_loop(duty: Duty, failures: list[str], problem: Exception) -> None:
    duty.does = fail(problem)
    loop = loop_of(duty, failures)
    with capture_logs() as lines:
        loop.start()
        for _ in range(4):
            duty.wait()
        duty.does = lambda: None
        for _ in range(2):
            duty.wait()
        loop.stop()
    assert len(failures) >= 4
    assert set(failures) == {"duty"}
    failed, again = [line for line in lines if line["log_level"] in {"warning", "info"}]
    assert failed["event"] in {"background duty failed", "the store is unavailable"}
    assert again["event"] in {"background duty works again", "the store is available again"}
    assert again["failures"] >= 4


def test_only_words_of_our_own_are_logged(duty: Duty, failures: list[str]) -> None:
    """A foreign exception may hold anything, so its type alone is told."""
    said = {}
    for problem in (StoreUnavailable("the store cannot be reached", detail="host db.test"), ValueError("tsk_secret")):
        duty.does = fail(problem)
        with capture_logs() as lines:
            loop_of(duty, failures)._attempt()
        said[type(problem)] = lines[0]
    assert said[StoreUnavailable]["code"] == "store_unavailable"
    assert said[StoreUnavailable]["problem"] == "the store cannot be reached: host db.test"
    assert said[ValueError]["code"] == "internal_error"
    assert said[ValueError]["problem"] == "ValueError"
    assert "tsk_secret" not in str(said)


def test_a_poke_runs_the_duty_without_waiting(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures, every=3600, most=3600)
    loop.start()
    duty.wait()
    for _ in range(3):
        loop.wake()
        duty.wait()
    loop.stop()


def test_an_event_that_was_made_before_the_loop_wakes_it(duty: Duty, failures: list[str]) -> None:
    wake = threading.Event()
    loop = BackgroundTask("duty", duty, every_seconds=60, backoff_max_seconds=60, on_failure=failures.append, wake_event=wake)
    loop.start()
    duty.wait()
    wake.set()
    duty.wait()
    loop.stop()


def test_a_poke_during_a_run_is_not_lost(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures, every=3600, most=3600)
    inside, go_on = threading.Event(), threading.Event()

    def linger() -> None:
        inside.set()
        assert go_on.wait(SOON)

    duty.does = linger
    loop.start()
    assert inside.wait(SOON)
    loop.wake()
    duty.does = lambda: None
    go_on.set()
    duty.wait()
    duty.wait()
    loop.stop()


def test_the_pause_has_jitter_within_a_tenth(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures, every=10, most=100)
    pauses = [loop._pause() for _ in range(500)]
    assert all(9 <= pause <= 11 for pause in pauses)
    assert min(pauses) < 9.3 < 10.7 < max(pauses), "workers do not march in step"


def test_failures_double_the_pause_up_to_the_cap_and_success_ends_that(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures, every=1, most=30)
    duty.does = fail(ValueError())
    seen = []
    for _ in range(60):
        seen.append(loop._pause())
        loop._attempt()
    for failed, pause in enumerate(seen):
        middle = min(2.0**failed, 30)
        assert 0.9 * middle <= pause <= 1.1 * middle
    duty.does = lambda: None
    loop._attempt()
    assert loop._pause() <= 1.1


def test_a_cap_below_the_pace_does_not_quicken_it(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures, every=10, most=1)
    duty.does = fail(ValueError())
    loop._attempt()
    assert 9 <= loop._pause() <= 11


def test_the_first_run_is_announced_even_when_it_failed(duty: Duty, failures: list[str]) -> None:
    duty.does = fail(ValueError())
    loop = loop_of(duty, failures, every=3600, most=3600)
    assert not loop.first_run_finished.is_set()
    loop.start()
    assert loop.first_run_finished.wait(SOON)
    loop.stop()


def test_stopping_waits_for_the_run_under_way_and_ends_the_pause(duty: Duty, failures: list[str]) -> None:
    loop = loop_of(duty, failures, every=3600, most=3600)
    finished = threading.Event()
    duty.does = finished.set
    loop.start()
    duty.wait()
    began = time.monotonic()
    loop.stop()
    assert finished.is_set()
    assert time.monotonic() - began < SOON
    assert duty.ran.empty()


def test_stopping_at_any_moment_never_waits_for_a_pause(duty: Duty, failures: list[str]) -> None:
    """Also between one pause and the next run, where a stop could be wiped away."""
    for _ in range(300):
        loop = loop_of(duty, failures, every=3600, most=3600)
        loop.start()
        duty.wait()
        loop.wake()
        loop.stop()
        assert not loop._thread.is_alive()


def test_what_a_duty_holds_it_gives_back_after_its_last_run(failures: list[str]) -> None:
    done: list[str] = []
    loop = BackgroundTask(
        "duty",
        lambda: done.append("run"),
        every_seconds=3600,
        backoff_max_seconds=3600,
        on_failure=failures.append,
        on_stop=lambda: done.append("end"),
    )
    loop.start()
    assert loop.first_run_finished.wait(SOON)
    loop.stop()
    assert done == ["run", "end"]


def test_all_stop_side_by_side(failures: list[str]) -> None:
    """Each at its end waits for all the others to be there: one after the other they would wait for ever."""
    together = threading.Barrier(3, timeout=SOON)

    def arrive() -> None:
        together.wait()

    loops = [
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
    for loop in loops:
        loop.start()
    stop_all(loops)
    assert not failures
    assert not any(loop._thread.is_alive() for loop in loops)


def test_a_process_starts_in_order_waits_for_the_first_and_stops_all(failures: list[str]) -> None:
    started, ended, go = queue.Queue[str](), queue.Queue[str](), threading.Event()

    def loop(name: str) -> BackgroundTask:
        def once() -> None:
            started.put(name)
            assert name != "first" or go.wait(SOON)

        return BackgroundTask(
            name,
            once,
            every_seconds=60,
            backoff_max_seconds=60,
            on_failure=failures.append,
            on_stop=lambda: ended.put(name),
        )

    lifecycle = Lifecycle(first=loop("first"), others=(loop("second"), loop("third")))
    assert [one.name for one in lifecycle.tasks] == ["first", "second", "third"]
    lifecycle.start()
    assert {started.get(timeout=SOON) for _ in range(3)} == {"first", "second", "third"}
    waiting = threading.Thread(target=lifecycle.wait_until_started)
    waiting.start()
    assert waiting.is_alive()
    go.set()
    waiting.join(SOON)
    assert not waiting.is_alive()
    lifecycle.stop()
    assert {ended.get(timeout=SOON) for _ in range(3)} == {"first", "second", "third"}
    assert failures == []


def test_stopping_what_was_never_started_is_nothing(duty: Duty, failures: list[str]) -> None:
    loop_of(duty, failures).stop()
    assert duty.ran.empty()


def test_a_duty_may_say_when_it_wants_to_run_again(failures: list[str]) -> None:
    """However long the pause of its loop is; after a failure the loop decides."""
    ran: queue.Queue[float] = queue.Queue()

    def duty() -> float:
        ran.put(time.monotonic())
        return 0.001

    loop = BackgroundTask("duty", duty, every_seconds=60, backoff_max_seconds=60, on_failure=failures.append)
    loop.start()
    for _ in range(5):
        ran.get(timeout=SOON)
    loop.stop()
    assert not failures


class Outage:
    """A duty run by hand on a clock of its own: one run a second."""

    def __init__(self, failures: list[str], clock: ManualClock) -> None:
        self._clock = clock
        self._log = FailureLog(clock.monotonic)
        self._failures = failures
        self._does: dict[str, Callable[[], float | Literal[RunResult.IDLE] | None]] = {}
        self._loops: dict[str, BackgroundTask] = {}

    def run(
        self, does: Callable[[], float | Literal[RunResult.IDLE] | None], seconds: int = 1, name: str = "duty"
    ) -> list[tuple[str, float]]:
        """Run the duty for so long; each line of the log, and the `seconds` that it names."""
        self._does[name] = does
        if name not in self._loops:
            self._loops[name] = BackgroundTask(
                name,
                lambda: self._does[name](),
                every_seconds=1,
                backoff_max_seconds=1,
                on_failure=self._failures.append,
                failure_log=self._log,
            )
        with capture_logs() as lines:
            for _ in range(seconds):
                self._loops[name]._attempt()
                self._clock.advance(1)
        return [(line["event"], line["seconds"]) for line in lines]


@pytest.fixture
def outage(failures: list[str], clock: ManualClock) -> Outage:
    return Outage(failures, clock)


AWAY = fail(StoreUnavailable("the store cannot be reached"))


def test_an_outage_has_a_line_when_it_starts_one_a_minute_and_one_when_it_ends(
    outage: Outage, failures: list[str]
) -> None:
    lines = outage.run(AWAY, 150)
    still = "the store is still unavailable"
    assert lines == [("the store is unavailable", 0), (still, 60), (still, 120)]
    assert outage.run(lambda: None, 150) == [("the store is available again", 150)]
    assert len(failures) == 150, "each failure is counted, whether it is logged or not"


def test_a_new_cause_is_logged_at_once(outage: Outage) -> None:
    outage.run(fail(StoreUnavailable("the store cannot be reached")), 10)
    full = fail(StoreUnavailable("the store's disk is full"))
    assert outage.run(full, 10) == [("the store is unavailable", 10)]
    assert outage.run(fail(ValueError()), 10) == [("background duty failed", 0)]
    assert outage.run(AWAY, 10) == [], "this outage had that cause before"


def test_causes_that_take_turns_have_no_line_each_time(outage: Outage) -> None:
    slow, lines = fail(StoreUnavailable("the store did not answer in time")), []
    for _ in range(60):
        lines += outage.run(AWAY) + outage.run(slow)
    assert len(lines) == 2 + 1


def test_a_cause_that_differs_each_time_has_few_lines_a_minute(outage: Outage) -> None:
    lines = [line for n in range(600) for line in outage.run(fail(StoreUnavailable(f"failure {n}")))]
    assert len(lines) <= 10 * (MAX_LINES_PER_MINUTE + 1)


def test_what_comes_and_goes_each_second_has_few_lines_a_minute(outage: Outage) -> None:
    lines = [line for _ in range(300) for line in outage.run(AWAY) + outage.run(lambda: None)]
    assert len(lines) <= 10 * 2 * (MAX_LINES_PER_MINUTE + 1)
    assert len([line for line in lines if "again" in line[0]]) == len(lines) / 2, "an end is logged where its start was"


def test_a_run_that_attempts_nothing_ends_no_outage(outage: Outage) -> None:
    outage.run(AWAY)
    assert outage.run(lambda: IDLE) == []
    assert outage.run(AWAY) == []
    assert outage.run(lambda: 1.0) == [("the store is available again", 3)]


def test_the_tasks_of_a_process_have_one_outage_of_the_store(outage: Outage) -> None:
    assert len(outage.run(AWAY, 5)) == 1
    assert outage.run(AWAY, 5, "other") == []
    assert outage.run(lambda: None, 5, "third") == [], "a task that does not use the store proves nothing"
    assert len(outage.run(lambda: None, 5)) == 1
    assert outage.run(lambda: None, 5, "other") == []


def test_other_failures_of_two_tasks_are_two_outages(outage: Outage) -> None:
    assert len(outage.run(fail(ValueError()))) == 1
    assert len(outage.run(fail(ValueError()), 1, "other")) == 1
    assert outage.run(lambda: None) == [("background duty works again", 2)]


def test_what_a_duty_gives_back_at_its_end_ends_no_outage(failures: list[str]) -> None:
    loop = BackgroundTask("duty", AWAY, every_seconds=3600, backoff_max_seconds=3600, on_failure=failures.append)
    with capture_logs() as lines:
        loop.start()
        assert loop.first_run_finished.wait(SOON)
        loop.stop()
    assert [line["event"] for line in lines] == ["the store is unavailable"]
