"""Authenticates requests: the API key must be valid and the caller must have the scope of the operation.

Invariants
- Callers are authenticated only against a fresh snapshot: a worker that is cut off does not know who was disabled.
- Caller, snapshot and time are read once and belong together: a request is handled with exactly these three.
- Only `authenticated_body` reads a request's body. It authenticates again once the body is complete: a client may send
  it slowly, and a caller that was disabled meanwhile may do nothing more. A test checks this.
- Off the hot path, routes call the store in threads. The limit on these threads is shared with nothing else, so that a
  store that hangs occupies no other threads.
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
"""Caller, snapshot, and time in Unix seconds. A plain tuple, because one is made for each token."""


class RequestAuthenticator:
    """Authenticates callers, and runs their store calls in threads."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Clock, *, lease_seconds: float) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._threads = anyio.CapacityLimiter(MAX_CONCURRENT_STORE_CALLS)

    def authenticate(self, scope: Scope, context: RequestContext, required_scope: str) -> Authenticated:
        """The caller of a request. Raises SnapshotStale, Unauthenticated, or InsufficientScope for `required_scope`."""
        snapshot, now = self._snapshot(), self._clock.now()
        require_fresh(snapshot, now, self._clock.monotonic(), self._lease_seconds)
        caller = authenticate(header(scope, b"authorization"), snapshot.secrets, now)
        context.caller = caller.name
        caller.require_scope(required_scope)
        return caller, snapshot, now

    async def authenticated_body(
        self, scope: Scope, receive: Receive, context: RequestContext, required_scope: str, limit_bytes: int
    ) -> tuple[Authenticated, dict[str, Any]]:
        """As `authenticate`, once the body is complete, and the body as a JSON object. Authenticates before as well, so
        that the body of an unauthenticated client is never read."""
        self.authenticate(scope, context, required_scope)
        body = await read_json(scope, receive, limit_bytes)
        return self.authenticate(scope, context, required_scope), body

    def caller(self, scope: Scope, context: RequestContext, required_scope: str) -> Caller:
        """As `authenticate`, the caller alone."""
        return self.authenticate(scope, context, required_scope)[0]

    async def caller_and_body(
        self, scope: Scope, receive: Receive, context: RequestContext, required_scope: str, limit_bytes: int
    ) -> tuple[Caller, dict[str, Any]]:
        """As `authenticated_body`, the caller and the body alone."""
        (caller, _, _), body = await self.authenticated_body(scope, receive, context, required_scope, limit_bytes)
        return caller, body

    async def run_in_thread(self, call: Callable[[], _T]) -> _T:
        """Run a call that may block, in a thread. Its end is awaited even when the client disconnects."""
        return await anyio.to_thread.run_sync(call, limiter=self._threads)
