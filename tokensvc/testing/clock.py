"""The local IVS's clock in tests, which a token service can share.

Invariants
- It is advanced by a test, and set back between two tests only: what an earlier test left is in accounts that no later
  one uses.
- When `advance` and `reset` return, everything that follows the clock has the new time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tokensvc.local_ivs.clock import AdvanceableClock


class ResettableClock(AdvanceableClock):
    """The time of this machine, and as much later as tests have advanced it."""

    _followers: tuple[Callable[[], None], ...] = ()

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError unless `seconds` is positive and finite."""
        super().advance(seconds)
        self._notify()

    def reset(self) -> None:
        """Return to the time of this machine."""
        if self._offset_seconds:
            self._offset_seconds = 0.0
            self._notify()

    @contextmanager
    def followed_by(self, follow: Callable[[], None]) -> Iterator[None]:
        """Call the function after each change of the time while the block runs."""
        self._followers = (*self._followers, follow)
        try:
            yield
        finally:
            self._followers = tuple(other for other in self._followers if other is not follow)

    def _notify(self) -> None:
        for follow in self._followers:
            follow()


class ServiceClock:
    """The same time for a token service, whose intervals and timeouts take as long as ever."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, clock: ResettableClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()
