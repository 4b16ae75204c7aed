"""The machine's own clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Wall clock and monotonic clock as the operating system keeps them."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
