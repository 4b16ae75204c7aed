"""Progress of encoding a loop.

Invariants
- A callback gets a share from 0 to 1 that only grows, at most once for each whole percent.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

Progress = Callable[[float], None]


def no_progress(_: float) -> None:
    """For what takes no time."""


class WholePercents:
    """Passes on what any thread reports."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._percent = -1
        self._lock = Lock()

    def report(self, share: float) -> None:
        with self._lock:
            percent = int(100 * share)
            if percent > self._percent:
                self._percent = percent
                self._progress(percent / 100)
