"""The machine's own clocks, and the store's."""

from __future__ import annotations

import time


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
