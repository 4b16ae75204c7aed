"""Time, as an argument."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The two clocks of a machine."""

    def now(self) -> float:
        """Wall-clock time in Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring how long ago something was."""
        ...
