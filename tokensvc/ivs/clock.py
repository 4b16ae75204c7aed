"""A clock that can be put forward, so that ten minutes pass in a test at once."""

from __future__ import annotations

import math
import threading

from tokensvc.ports.clock import Clock


class AdvanceableClock:
    """Another clock, ahead of it by as much as it was advanced. It never goes back."""

    def __init__(self, base: Clock) -> None:
        self.base = base
        self._offset_seconds = 0.0
        self._lock = threading.Lock()

    @property
    def offset_seconds(self) -> float:
        """How far it is ahead of the clock that it stands on."""
        return self._offset_seconds

    def now(self) -> float:
        return self.base.now() + self._offset_seconds

    def monotonic(self) -> float:
        return self.base.monotonic() + self._offset_seconds

    def advance(self, seconds: float) -> None:
        """Put it forward. Raises ValueError for anything but a positive, finite number."""
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError("must be a positive number of seconds")
        with self._lock:
            self._offset_seconds += seconds
