"""The machine's own clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Wall clock and monotonic clock as the operating system keeps them."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
