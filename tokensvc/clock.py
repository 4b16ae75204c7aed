"""Clocks, passed as arguments: the machine's own clocks and the store's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

CLOCK_SKEW_SECONDS = 5
"""How far a worker's wall clock may differ from the store's."""


class Clock(Protocol):
    """A wall clock and a monotonic clock."""

    def now(self) -> float:
        """Wall-clock time in Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring durations."""
        ...


class SystemClock:
    """The operating system's wall clock and monotonic clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class StoreClock:
    """The store's wall clock, continued by this machine's monotonic clock since it was read.

    It sets and checks times that several machines compare, such as when a key began to drain: a machine whose own clock
    is ahead would delete a key pair whose tokens are still valid.
    """

    monotonic = staticmethod(time.monotonic)

    def __init__(self, store_now: float) -> None:
        self._offset_seconds = store_now - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset_seconds


class ConfirmedClock:
    """The store's wall clock as this worker's last refresh read it, continued by the monotonic clock.

    It sets the times that a worker writes to the store, and checks those that others wrote: the worker's own wall clock
    may jump at any moment. It is correct once there is a snapshot; no request is served before.
    """

    monotonic = staticmethod(time.monotonic)

    def __init__(self, store_offset_seconds: Callable[[], float]) -> None:
        self._store_offset_seconds = store_offset_seconds

    def now(self) -> float:
        return time.monotonic() + self._store_offset_seconds()
