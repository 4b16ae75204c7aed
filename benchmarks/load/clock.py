"""An event loop with microsecond wake-ups.

asyncio rounds timeouts up to whole milliseconds, the unit of epoll, and so do uvloop's timers: too coarse for a
generator that sends every 200 microseconds. `select` takes microseconds, and an epoll descriptor can be selected.
"""

from __future__ import annotations

import asyncio
import select
import selectors

if hasattr(selectors, "EpollSelector"):

    class PunctualSelector(selectors.EpollSelector):
        """epoll with timeouts that are not rounded."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

else:  # kqueue does not round fractions of a second
    PunctualSelector = selectors.DefaultSelector  # type: ignore[misc,assignment,unused-ignore] # another class there


def punctual_loop() -> asyncio.AbstractEventLoop:
    """The event loop of a generator."""
    return asyncio.SelectorEventLoop(PunctualSelector())
