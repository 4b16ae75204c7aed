"""Runs a background task repeatedly, in a thread of its own.

Invariants
- A task is a plain function. An exception that it raises is counted and logged, and never ends the thread. It is logged
  as an outage (`outages.py`): when it starts, once a minute, and when it ends.
- A run that attempted nothing returns IDLE. It proves nothing, so it ends no outage. Nor does the task's `on_stop`.
- A task may return in how many seconds it wants to run again; otherwise the configured interval applies.
- The pause has jitter, so that workers do not run in lockstep; after failures it doubles up to a cap.
- `wake` makes a task run again immediately.
- `on_stop` runs in the task's own thread, after its last run. Tasks are stopped in parallel, so stopping takes as long
  as the slowest of them and no longer.
- A process starts its tasks in order, serves after the first run of the first task, and stops them all (`Lifecycle`).
"""

from __future__ import annotations

import enum
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokensvc.outages import FailureLog

STOP_TIMEOUT_SECONDS = 6.0
"""How long stopping waits: as long as a call to the store may take."""

START_TIMEOUT_SECONDS = 10.0
"""How long a process waits for the first run of its first task before it serves anyway."""

_JITTER = 0.1


class RunResult(enum.Enum):
    """The result of a run that did nothing."""

    IDLE = "idle"


IDLE: Final = RunResult.IDLE
RunFunction = Callable[[], float | Literal[RunResult.IDLE] | None]
"""One run of a task. It returns in how many seconds the next run is wanted, None for the task's interval, or IDLE for
the same when it attempted nothing."""


ObserveTask = Callable[[str, RunFunction], RunFunction]
"""Makes a run of the task with this name into one that is observed. It must raise and return the same."""


def unobserved(_name: str, run_once: RunFunction) -> RunFunction:
    """The same run."""
    return run_once


class BackgroundTask:
    """A function that is run at an interval, in seconds, in a thread of its own."""

    def __init__(
        self,
        name: str,
        run_once: RunFunction,
        *,
        every_seconds: float,
        backoff_max_seconds: float,
        on_failure: Callable[[str], None],
        on_stop: Callable[[], None] = lambda: None,
        failure_log: FailureLog | None = None,
        log_name: str | None = None,
        wake_event: threading.Event | None = None,
        observe: ObserveTask = unobserved,
    ) -> None:
        """`failure_log` is shared by the tasks of a process; `log_name` identifies the task there if several tasks have
        the same name. Setting `wake_event` is the same as calling `wake`: it is for objects that are made before the
        task."""
        self.name = name
        self._failure_log = failure_log or FailureLog()
        self._log_name = log_name or name
        self._run_once = observe(name, run_once)
        self._every = every_seconds
        self._backoff_max = backoff_max_seconds
        self._on_failure = on_failure
        self._on_stop = on_stop
        self._wake = wake_event or threading.Event()
        self.first_run_finished = threading.Event()
        """Set after the first run, successful or not."""
        self.succeeded_at: float | None = None
        """When it last ended without a failure, by `time.monotonic`; None before the first time."""
        self._stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"task-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; the first run is immediate."""
        self._thread.start()

    def wake(self) -> None:
        """Run again now instead of waiting for the pause to end. Returns immediately."""
        self._wake.set()

    def request_stop(self) -> None:
        """Stop after the current run. Returns immediately."""
        self._stopping = True
        self._wake.set()

    def stop(self, within_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stop after the current run, and wait for it."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(within_seconds)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:  # checked after `clear`, which may have erased the event that `request_stop` set
                break
            wanted = self._attempt()
            self.first_run_finished.set()
            self._wake.wait(self._pause() if wanted is None else wanted)
        try:
            self._on_stop()
        except Exception as error:  # noqa: BLE001 - as in `_attempt`
            self._failed(error)

    def _attempt(self) -> float | None:
        try:
            result = self._run_once()
        except Exception as error:  # noqa: BLE001 - a task's failure must never end its thread
            self._failed(error)
            return None
        self._failures, self.succeeded_at = 0, time.monotonic()
        if isinstance(result, RunResult):
            return None
        self._failure_log.record_success(self._log_name)
        return result

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._on_failure(self.name)
        self._failure_log.record_failure(self._log_name, error)

    def _pause(self) -> float:
        pause = min(self._every * 2.0 ** min(self._failures, 16), max(self._backoff_max, self._every))
        return pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter, no secret


def stop_all(tasks: Sequence[BackgroundTask]) -> None:
    """Stop all tasks in parallel, and wait for them for STOP_TIMEOUT_SECONDS at most."""
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    for task in tasks:
        task.request_stop()
    for task in tasks:
        task.stop(max(0.0, deadline - time.monotonic()))


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """The background tasks of one process, from its start to its stop."""

    first: BackgroundTask
    """Starts first, and reads what the process cannot serve without: its snapshot, or the store's versions."""
    others: tuple[BackgroundTask, ...]
    """Start after it, in this order."""

    @property
    def tasks(self) -> tuple[BackgroundTask, ...]:
        """All tasks, in the order in which they start."""
        return (self.first, *self.others)

    def start(self) -> None:
        """Start every task, each in a thread of its own. Returns immediately."""
        for task in self.tasks:
            task.start()

    def wait_until_started(self) -> None:
        """Wait until the first task has run once, successfully or not, or for START_TIMEOUT_SECONDS."""
        self.first.first_run_finished.wait(START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Stop all tasks in parallel, and wait for them for STOP_TIMEOUT_SECONDS at most."""
        stop_all(self.tasks)
