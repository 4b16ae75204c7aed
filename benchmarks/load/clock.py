"""An event loop that wakes up to the microsecond.

asyncio rounds waits up to whole milliseconds, since epoll counts in them, and uvloop's timers do too: too late for one
that sends every 200 microseconds. `select` takes microseconds, and an epoll descriptor can itself be selected.
"""

from __future__ import annotations

import asyncio
import select
import selectors

if hasattr(selectors, "EpollSelector"):

    class PunctualSelector(selectors.EpollSelector):
        """epoll, with waits that are not rounded."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

else:  # kqueue takes fractions of a second as they are
    PunctualSelector = selectors.DefaultSelector  # type: ignore[misc,assignment,unused-ignore] # another class there


def punctual_loop() -> asyncio.AbstractEventLoop:
    """A loop for a generator."""
    return asyncio.SelectorEventLoop(PunctualSelector())
