"""Runs a background duty again and again, in a thread of its own.

Rules of the file
- A duty is a plain `once()`. What it raises is counted and logged, never the end of the loop.
- A duty may say itself in how many seconds it wants to run again; else the pause is the loop's.
- The pause has jitter, so that workers do not march in step; after failures it doubles up to a cap.
- A duty may be poked: then it runs at once.
- What a duty has to give back it gives back in its own thread, after its last run. All stop side by side, so that
  stopping takes as long as the slowest and no longer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from tokensvc.errors import TokensvcError
from tokensvc.logger import structlog

STOP_SECONDS = 6.0
"""How long stopping waits: as long as a call to the store may take."""

_JITTER = 0.1
_log = structlog.get_logger(__name__)


class Loop:
    """One duty, its thread and its pace in seconds."""

    def __init__(
        self,
        name: str,
        once: Callable[[], float | None],
        *,
        every_seconds: float,
        backoff_max_seconds: float,
        on_failure: Callable[[str], None],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._once = once
        self._every = every_seconds
        self._backoff_max = backoff_max_seconds
        self._on_failure = on_failure
        self._at_end = at_end
        self._wake = threading.Event()
        self.first_run = threading.Event()
        """Set once the duty ran for the first time, well or not."""
        self._stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"loop-{name}", daemon=True)

    def start(self) -> None:
        """Begin; the first run is at once."""
        self._thread.start()

    def poke(self) -> None:
        """Run again without waiting for the pause to end."""
        self._wake.set()

    def tell_to_stop(self) -> None:
        """End after the run under way."""
        self._stopping = True
        self._wake.set()

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """End after the run under way, and wait for that."""
        self.tell_to_stop()
        if self._thread.is_alive():
            self._thread.join(within_seconds)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:  # asked after the clearing, so that a stop just before it is not wiped away
                break
            wanted = self._attempt(self._once)
            self.first_run.set()
            self._wake.wait(self._pause() if wanted is None else wanted)
        self._attempt(self._at_end)

    def _attempt(self, act: Callable[[], float | None]) -> float | None:
        try:
            wanted = act()
        except Exception as problem:  # noqa: BLE001 - a duty's failure must never end its loop
            self._failures += 1
            self._on_failure(self.name)
            known = isinstance(problem, TokensvcError)
            _log.warning(
                "background duty failed",
                loop=self.name,
                code=problem.code if isinstance(problem, TokensvcError) else "internal_error",
                problem=str(problem) if known else type(problem).__name__,
                in_a_row=self._failures,
            )
            return None
        self._failures = 0
        return wanted

    def _pause(self) -> float:
        pause = min(self._every * 2.0 ** min(self._failures, 16), max(self._backoff_max, self._every))
        return pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter, no secret


def stop_all(loops: Sequence[Loop]) -> None:
    """End all of them, and wait for that once."""
    ends_at = time.monotonic() + STOP_SECONDS
    for loop in loops:
        loop.tell_to_stop()
    for loop in loops:
        loop.stop(max(0.0, ends_at - time.monotonic()))
