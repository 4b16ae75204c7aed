"""Runs a background duty again and again, in a thread of its own.

Rules of the file
- A duty is a plain `once()`. What it raises is counted and logged, never the end of the loop. It is logged as an
  outage (`outages.py`): when it starts, once a minute, and when it ends.
- A run that attempted nothing says so with IDLE: it proves nothing, so it ends no outage. Nor does what a duty gives
  back at its end.
- A duty may say itself in how many seconds it wants to run again; else the pause is the loop's.
- The pause has jitter, so that workers do not march in step; after failures it doubles up to a cap.
- A duty may be poked: then it runs at once.
- What a duty has to give back it gives back in its own thread, after its last run. All stop side by side, so that
  stopping takes as long as the slowest and no longer.
- A process starts its loops in order, serves after the first one's first run, and stops all of them (`Lifecycle`).
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
"""How long a process waits for the first run of its first loop before it serves all the same."""

_JITTER = 0.1


class RunResult(enum.Enum):
    """What a run of a duty was, where it is not simply done."""

    IDLE = "idle"


IDLE: Final = RunResult.IDLE
RunFunction = Callable[[], float | Literal[RunResult.IDLE] | None]
"""A run of a duty. It returns in how many seconds it wants to run again, None for the loop's own pause, or IDLE for the
same when it attempted nothing."""


class BackgroundTask:
    """One duty, its thread and its pace in seconds."""

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
    ) -> None:
        """`failure_log` is the one of the process; `log_name` names the loop there, where several have one name. `wake`
        is for what is made before the loop and makes it run at once: setting it is the same as `poke`."""
        self.name = name
        self._failure_log = failure_log or FailureLog()
        self._log_name = log_name or name
        self._once = run_once
        self._every = every_seconds
        self._backoff_max = backoff_max_seconds
        self._on_failure = on_failure
        self._at_end = on_stop
        self._wake = wake_event or threading.Event()
        self.first_run_finished = threading.Event()
        """Set once the duty ran for the first time, well or not."""
        self._stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"loop-{name}", daemon=True)

    def start(self) -> None:
        """Begin; the first run is at once."""
        self._thread.start()

    def wake(self) -> None:
        """Run again without waiting for the pause to end."""
        self._wake.set()

    def request_stop(self) -> None:
        """End after the run under way."""
        self._stopping = True
        self._wake.set()

    def stop(self, within_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """End after the run under way, and wait for that."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(within_seconds)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:  # asked after the clearing, so that a stop just before it is not wiped away
                break
            wanted = self._attempt()
            self.first_run_finished.set()
            self._wake.wait(self._pause() if wanted is None else wanted)
        try:
            self._at_end()
        except Exception as problem:  # noqa: BLE001 - as in `_attempt`
            self._failed(problem)

    def _attempt(self) -> float | None:
        try:
            wanted = self._once()
        except Exception as problem:  # noqa: BLE001 - a duty's failure must never end its loop
            self._failed(problem)
            return None
        self._failures = 0
        if isinstance(wanted, RunResult):
            return None
        self._failure_log.record_success(self._log_name)
        return wanted

    def _failed(self, problem: Exception) -> None:
        self._failures += 1
        self._on_failure(self.name)
        self._failure_log.record_failure(self._log_name, problem)

    def _pause(self) -> float:
        pause = min(self._every * 2.0 ** min(self._failures, 16), max(self._backoff_max, self._every))
        return pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter, no secret


def stop_all(tasks: Sequence[BackgroundTask]) -> None:
    """End all of them, and wait for that once."""
    ends_at = time.monotonic() + STOP_TIMEOUT_SECONDS
    for loop in tasks:
        loop.request_stop()
    for loop in tasks:
        loop.stop(max(0.0, ends_at - time.monotonic()))


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """The background loops of one process, from its start to its stop."""

    first: BackgroundTask
    """Starts first, and brings what the process cannot serve without: its snapshot, or the store's versions."""
    others: tuple[BackgroundTask, ...]
    """Start after it, in this order."""

    @property
    def tasks(self) -> tuple[BackgroundTask, ...]:
        """All of them, in the order in which they start."""
        return (self.first, *self.others)

    def start(self) -> None:
        """Start every loop, each in a thread of its own. Returns at once."""
        for loop in self.tasks:
            loop.start()

    def wait_until_started(self) -> None:
        """Wait until the first loop ran once, whether it failed or not, or for START_SECONDS."""
        self.first.first_run_finished.wait(START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Stop all loops side by side, and wait for that for STOP_SECONDS at most."""
        stop_all(self.tasks)
