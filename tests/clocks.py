"""Time as a test wants it."""

from __future__ import annotations

from datetime import UTC, datetime

START = 1_800_000_000.0
"""15 January 2027, 08:00 UTC."""


class ManualClock:
    """Both clocks of a machine; they stand still until they are told to go on."""

    def __init__(self, now: float = START, monotonic: float = 1000.0) -> None:
        self.wall = now
        self._monotonic = monotonic

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall += seconds
        self._monotonic += seconds

    def at(self) -> datetime:
        """The wall clock as an instant."""
        return datetime.fromtimestamp(self.wall, UTC)
