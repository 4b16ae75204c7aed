"""How many batches a caller may have at once, and whose turn it is to sign a slice: round robin over the callers.

Invariants
- A caller has at most `max_of_caller` batches of tokens and of revocations, from the start of their bodies to their
  responses, and a viewer of a viewer app at most MAX_OF_VIEWER. So they do not use up what the worker accepts of
  everybody together (`web/overload.py`), or of the viewer app's other viewers.
- One slice of one batch at a time.
- A slice waits for at most one slice of each other caller, however many batches those have, and for the batches of its
  own caller that asked earlier.
- A batch that is cancelled, while it waits or while it has its turn, holds up no other.
- Only callers with batches are remembered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tokensvc.errors import Overloaded

DEFAULT_MAX_OF_CALLER = 32
MAX_OF_VIEWER = 4


class BatchTurns:
    """The turns of one worker's batches, on one event loop."""

    def __init__(self, max_of_caller: int = DEFAULT_MAX_OF_CALLER) -> None:
        self._max_of_caller = max_of_caller
        self._batches: dict[tuple[str, ...], int] = {}
        """By caller, and by caller and viewer."""
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By caller, in the order of their next turns."""
        self._running: str | None = None
        """The caller that has its turn."""

    @contextmanager
    def batch(self, caller: str, viewer: str | None = None) -> Iterator[None]:
        """Count one batch of the caller, and of the viewer who presents a bearer token, while the block runs. Raises
        Overloaded if one of them has too many."""
        with self._counted((caller,), self._max_of_caller, "caller"):
            if viewer is None:
                yield
            else:
                with self._counted((caller, viewer), MAX_OF_VIEWER, "viewer"):
                    yield

    @contextmanager
    def _counted(self, key: tuple[str, ...], limit: int, whose: str) -> Iterator[None]:
        batches = self._batches.get(key, 0)
        if batches >= limit:
            raise Overloaded(f"this {whose} has too many batches on this worker at once; wait for their responses")
        self._batches[key] = batches + 1
        try:
            yield
        finally:
            self._batches[key] -= 1
            if not self._batches[key]:
                del self._batches[key]

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs."""
        if self._running is None:
            self._running = caller
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            if caller in self._waiting:  # behind those that arrived meanwhile
                self._waiting[caller] = self._waiting.pop(caller)
            self._give_next()

    async def _wait(self, caller: str) -> None:
        given = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(given)
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():  # it has just been given the turn: the next batch has it, of this caller if any
                self._give_next()
            raise

    def _give_next(self) -> None:
        """Give the turn to the next caller that has a batch which is not cancelled."""
        waiting = self._waiting
        self._running = None
        while waiting and self._running is None:
            caller = next(iter(waiting))
            given = waiting[caller].popleft()
            if not waiting[caller]:
                del waiting[caller]
            if not given.cancelled():
                self._running = caller
                given.set_result(None)
