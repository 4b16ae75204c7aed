"""A clock that can be put forward, so that ten minutes pass in a test at once.

Invariants
- It never goes back, not over a restart either: what it dated is stored, so its offset is stored first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tokensvc.clock import Clock


class AdvanceableClock:
    """Another clock, ahead of it by as much as it was advanced."""

    def __init__(
        self, base: Clock, offset_seconds: float = 0.0, store: Callable[[float], None] = lambda _: None
    ) -> None:
        """`store` makes an offset durable before it counts; what it raises, `advance` raises."""
        self.base = base
        self._offset_seconds = offset_seconds
        self._store = store
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
            offset_seconds = self._offset_seconds + seconds
            self._store(offset_seconds)
            self._offset_seconds = offset_seconds
