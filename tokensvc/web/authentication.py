"""Authenticates the requests of every route: a caller whose key is good and that was given the scope.

Invariants
- A caller is authenticated by a fresh snapshot or not at all: a worker that is cut off does not know who was disabled.
- Caller, snapshot and time are read once and belong together: whatever is done for a request is computed from them.
- A request's body is read by `authenticated_body` and nowhere else, which authenticates again once the body is
  complete: a client may send it slowly, and a caller that is disabled meanwhile may do nothing any more. A test holds
  it.
- What a route beside the hot path asks of the store, it asks in a thread; these threads are its own, so that a store
  that hangs takes none from anybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope

from tokensvc.callers.api_keys import authenticate
from tokensvc.callers.policy import Caller
from tokensvc.clock import Clock
from tokensvc.http.body import header, read_json
from tokensvc.tokens.snapshot import Snapshot, require_fresh
from tokensvc.web.context import RequestContext

MAX_CONCURRENT_STORE_CALLS = 8
_T = TypeVar("_T")
Authenticated = tuple[Caller, Snapshot, float]
"""Who asks, what this worker knows, and the time. A plain tuple: it is made for each token."""


class RequestAuthenticator:
    """Authenticates callers, and asks the store for them."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Clock, *, lease_seconds: float) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._threads = anyio.CapacityLimiter(MAX_CONCURRENT_STORE_CALLS)

    def authenticate(self, scope: Scope, context: RequestContext, needs: str) -> Authenticated:
        """Who asks, given that they have this scope. Raises SnapshotStale, Unauthenticated or InsufficientScope."""
        snapshot, now = self._snapshot(), self._clock.now()
        require_fresh(snapshot, now, self._clock.monotonic(), self._lease_seconds)
        caller = authenticate(header(scope, b"authorization"), snapshot.secrets, now)
        context.caller = caller.name
        caller.require_scope(needs)
        return caller, snapshot, now

    async def authenticated_body(
        self, scope: Scope, receive: Receive, context: RequestContext, needs: str, limit_bytes: int
    ) -> tuple[Authenticated, dict[str, Any]]:
        """As `authenticate`, after the body is complete, and the body as a JSON object. It is called before the body is
        read too, so that no body of an unauthenticated client is read."""
        self.authenticate(scope, context, needs)
        body = await read_json(scope, receive, limit_bytes)
        return self.authenticate(scope, context, needs), body

    def caller(self, scope: Scope, context: RequestContext, needs: str) -> Caller:
        """The caller alone."""
        return self.authenticate(scope, context, needs)[0]

    async def caller_and_body(
        self, scope: Scope, receive: Receive, context: RequestContext, needs: str, limit_bytes: int
    ) -> tuple[Caller, dict[str, Any]]:
        """The caller alone, after the body is complete, and the body as a JSON object."""
        (caller, _, _), body = await self.authenticated_body(scope, receive, context, needs, limit_bytes)
        return caller, body

    async def run_in_thread(self, act: Callable[[], _T]) -> _T:
        """What comes of a call that may block; it is waited for even when the client goes away."""
        return await anyio.to_thread.run_sync(act, limiter=self._threads)
