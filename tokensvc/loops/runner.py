"""Runs a background duty again and again, in a thread of its own.

Rules of the file
- A duty is a plain `once()`. What it raises is counted and logged, never the end of the loop.
- The pause has jitter, so that workers do not march in step; after failures it doubles up to a cap.
- A duty may be poked: then it runs at once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import structlog

from tokensvc.errors import TokensvcError

_JITTER = 0.1
_log = structlog.get_logger(__name__)


class Loop:
    """One duty, its thread and its pace in seconds."""

    def __init__(
        self,
        name: str,
        once: Callable[[], None],
        *,
        every_seconds: float,
        backoff_max_seconds: float,
        on_failure: Callable[[str], None],
    ) -> None:
        self.name = name
        self._once = once
        self._every = every_seconds
        self._backoff_max = backoff_max_seconds
        self._on_failure = on_failure
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

    def stop(self, timeout_seconds: float = 6) -> None:
        """End after the run under way, and wait for that as long as a call to the store may take."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:  # asked after the clearing, so that a stop just before it is not wiped away
                return
            self._attempt()
            self.first_run.set()
            self._wake.wait(self._pause())

    def _attempt(self) -> None:
        try:
            self._once()
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
        else:
            self._failures = 0

    def _pause(self) -> float:
        pause = min(self._every * 2.0 ** min(self._failures, 16), max(self._backoff_max, self._every))
        return pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - jitter, no secret
