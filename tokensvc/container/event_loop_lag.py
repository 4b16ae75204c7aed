"""Measures how late the event loop is: everything that runs on it, requests included, waits for as long.

Invariants
- A timer every INTERVAL_SECONDS; what it costs does not depend on the number of requests.
- Lag is the time from when the timer was due until it ran, on a clock that is read anew: the loop's own clock stands
  still during an iteration.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.25


class EventLoopLag:
    """Measures the lag of the running event loop."""

    def __init__(self, observe: Callable[[float], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._observe = observe
        self._monotonic = monotonic
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure from now on."""
        due_at = self._monotonic() + INTERVAL_SECONDS
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._run, due_at)

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()

    def _run(self, due_at: float) -> None:
        self._observe(max(0.0, self._monotonic() - due_at))
        self.start()
