"""Who may use a route beside the hot path: a caller whose key is good and who was given the scope.

Rules of the file
- The caller is judged by a fresh snapshot or not at all: a worker that is cut off does not know who was disabled.
- A request's body is read by `judged_body` and nowhere else, which judges the caller again once the body is complete: a
  client may send it slowly, and a caller that is disabled meanwhile may do nothing any more. A test holds it.
- What such a route asks of the store, it asks in a thread; these threads are its own, so that a store that hangs takes
  none from anybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope

from tokensvc.admit import authenticate
from tokensvc.core.policy import Caller
from tokensvc.core.snapshot import Snapshot, require_fresh
from tokensvc.ports.clock import Clock
from tokensvc.web.body import header, read_json
from tokensvc.web.exchange import Exchange

STORE_CALLS_AT_ONCE = 8
_T = TypeVar("_T")


async def judged_body(
    judge: Callable[[], _T], scope: Scope, receive: Receive, limit_bytes: int
) -> tuple[_T, dict[str, Any]]:
    """The body as a JSON object, and what `judge` makes of the caller after the body is complete. `judge` runs before
    the body is read too, so that no body of an unauthenticated client is read. Raises what both raise."""
    judge()
    body = await read_json(scope, receive, limit_bytes)
    return judge(), body


class Authorized:
    """Lets callers in, and asks the store for them."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Clock, *, lease_seconds: float) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._threads = anyio.CapacityLimiter(STORE_CALLS_AT_ONCE)

    def caller(self, scope: Scope, exchange: Exchange, needs: str) -> Caller:
        """Who asks, given that they have this scope. Raises SnapshotStale, NotAuthenticated or ScopeMissing."""
        snapshot = self._snapshot()
        now, monotonic = self._clock.now(), self._clock.monotonic()
        require_fresh(snapshot, now, monotonic, self._lease_seconds)
        caller = authenticate(header(scope, b"authorization"), snapshot, now)
        exchange.caller = caller.name
        caller.require_scope(needs)
        return caller

    async def caller_and_body(
        self, scope: Scope, receive: Receive, exchange: Exchange, needs: str, limit_bytes: int
    ) -> tuple[Caller, dict[str, Any]]:
        """As `caller`, after the body is complete, and the body as a JSON object."""
        return await judged_body(lambda: self.caller(scope, exchange, needs), scope, receive, limit_bytes)

    async def in_thread(self, act: Callable[[], _T]) -> _T:
        """What comes of a call that may block; it is waited for even when the client goes away."""
        return await anyio.to_thread.run_sync(act, limiter=self._threads)
