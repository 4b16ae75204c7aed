"""A clock that can be advanced, so that a test need not wait for ten minutes to pass.

Invariants
- It never goes back, not even over a restart: its offset is stored before it takes effect, since stored resources
  carry its times.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tokensvc.clock import Clock


class AdvanceableClock:
    """A base clock plus an offset that only grows."""

    def __init__(
        self, base: Clock, offset_seconds: float = 0.0, store_offset: Callable[[float], None] = lambda _: None
    ) -> None:
        """`store_offset` makes an offset durable before it takes effect; `advance` raises whatever it raises."""
        self.base = base
        self._offset_seconds = offset_seconds
        self._store_offset = store_offset
        self._lock = threading.Lock()

    @property
    def offset_seconds(self) -> float:
        """How far this clock is ahead of its base."""
        return self._offset_seconds

    def now(self) -> float:
        return self.base.now() + self._offset_seconds

    def monotonic(self) -> float:
        return self.base.monotonic() + self._offset_seconds

    def advance(self, seconds: float) -> None:
        """Move the clock forward. Raises ValueError unless `seconds` is positive and finite."""
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError("must be a positive number of seconds")
        with self._lock:
            offset_seconds = self._offset_seconds + seconds
            self._store_offset(offset_seconds)
            self._offset_seconds = offset_seconds
