"""Time, as an argument.

The machine's own clocks, and the store's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

CLOCK_SKEW_SECONDS = 5
"""How far a worker's wall clock may be off the store's."""


class Clock(Protocol):
    """The two clocks of a machine."""

    def now(self) -> float:
        """Wall-clock time in Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring how long ago something was."""
        ...


class SystemClock:
    """Wall clock and monotonic clock as the operating system keeps them."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class StoreClock:
    """The store's wall clock, gone on by this machine's monotonic one since it was read.

    What several machines date and judge by each other's dates (when a key began to drain) is dated by it: a machine
    whose own clock runs ahead would delete a pair whose tokens still live.
    """

    monotonic = staticmethod(time.monotonic)

    def __init__(self, store_now: float) -> None:
        self._ahead = store_now - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._ahead


class ConfirmedClock:
    """The store's wall clock as this worker's last refresh found it, continued by the monotonic clock.

    What a worker writes into the store, or judges by what others wrote there, is dated by it: the worker's own wall
    clock may jump at any moment. It is right once there is a snapshot, and no request is served before.
    """

    monotonic = staticmethod(time.monotonic)

    def __init__(self, store_offset_seconds: Callable[[], float]) -> None:
        self._store_offset_seconds = store_offset_seconds

    def now(self) -> float:
        return time.monotonic() + self._store_offset_seconds()
