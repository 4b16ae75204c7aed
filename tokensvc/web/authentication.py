"""Authenticates requests: the API key or bearer token must be valid, and the caller must have the operation's scope.

Invariants
- Callers are authenticated only against a fresh snapshot: a worker that is cut off does not know who was disabled.
- Caller, snapshot and time are read once and belong together: a request is handled with exactly these three.
- Only `authenticated_body` reads a request's body. It authenticates again once the body is complete: a client may send
  it slowly, and a caller that was disabled meanwhile may do nothing more. A test checks this.
- A bearer token is verified once, off the hot path; its key set is fetched in threads that nothing else uses, and an
  issuer that does not respond holds one of them at most.
- An address with too many failures gets 429 for unverified bearer tokens before a signature or a key set is touched.
- Off the hot path, routes call the store in threads. The limit on these threads is shared with nothing else, so that a
  store that hangs occupies no other threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope

from tokensvc.callers.api_keys import KEY_PREFIX, KeyReason, authenticate
from tokensvc.callers.bearer import MESSAGE, BearerVerifier, UnverifiedBearer, caller_of, read_bearer
from tokensvc.callers.jwks import IssuerKeys
from tokensvc.callers.policy import Caller
from tokensvc.clock import Clock
from tokensvc.errors import Unauthenticated
from tokensvc.http.body import header, read_json
from tokensvc.log import structlog
from tokensvc.tokens.snapshot import Snapshot, require_fresh
from tokensvc.web.context import RequestContext
from tokensvc.web.failed_logins import FailedLogins

MAX_CONCURRENT_STORE_CALLS = 8
MAX_CONCURRENT_KEY_FETCHES = 2
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
Authenticated = tuple[Caller, Snapshot, float]
"""Caller, snapshot, and time in Unix seconds. A plain tuple, because one is made for each token."""


RecordUse = Callable[[str, float, str], None]
"""Notes the use of an API key: its id, the time in Unix seconds, and the client's address. Returns immediately."""


CountFetch = Callable[[str, bool], None]
"""Counts one fetch of an issuer's key set: the issuer's host, and whether it was fetched."""


class BearerNotVerified(Unauthenticated):
    """The bearer token has to be verified first, off the hot path. Where that is not possible, it is a 401."""


class RequestAuthenticator:
    """Authenticates callers, and runs their store calls in threads."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
        *,
        lease_seconds: float,
        record_use: RecordUse | None = None,
        count_fetch: CountFetch = lambda _issuer, _is_fetched: None,
    ) -> None:
        """`record_use` is called with each API key that is accepted."""
        self._snapshot = snapshot
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._record_use = record_use
        self._count_fetch = count_fetch
        self._bearers = BearerVerifier()
        self._failed_logins = FailedLogins()
        self._fetches = anyio.CapacityLimiter(MAX_CONCURRENT_KEY_FETCHES)
        self._fetching: WeakKeyDictionary[IssuerKeys, anyio.Lock] = WeakKeyDictionary()
        """Held while an issuer's key set is fetched."""
        self._threads = anyio.CapacityLimiter(MAX_CONCURRENT_STORE_CALLS)

    def authenticate(self, scope: Scope, context: RequestContext, required_scope: str) -> Authenticated:
        """The caller of a request. Raises SnapshotStale, BearerNotVerified, Unauthenticated, RateLimited, or
        InsufficientScope for `required_scope`."""
        snapshot, now = self._snapshot(), self._clock.now()
        require_fresh(snapshot, now, self._clock.monotonic(), self._lease_seconds)
        authorization = header(scope, b"authorization")
        try:
            caller = authenticate(authorization, snapshot.secrets, now)
        except Unauthenticated as error:
            caller = self._by_bearer(authorization, scope, context, snapshot, now, error, required_scope)
        context.caller = caller.name
        context.key_id = caller.key_id
        if self._record_use is not None and caller.key_id:
            client = scope["client"]
            self._record_use(caller.key_id, now, client[0] if client else "")
        caller.require_scope(required_scope)
        return caller, snapshot, now

    def _by_bearer(
        self,
        authorization: str,
        scope: Scope,
        context: RequestContext,
        snapshot: Snapshot,
        now: float,
        error: Unauthenticated,
        required_scope: str,
    ) -> Caller:
        """The caller of a bearer token that is verified. `error` says why it is not an API key."""
        monotonic = self._clock.monotonic()
        scheme, _, token = authorization.partition(" ")
        if (
            snapshot.bearers
            and error.reason == KeyReason.UNKNOWN
            and scheme.lower() == "bearer"
            and not token.startswith(KEY_PREFIX)
        ):
            try:
                caller = self._bearers.cached(token, snapshot.bearers, now, monotonic)
            except Unauthenticated as rejection:
                error = rejection
            else:
                if caller is None:
                    raise BearerNotVerified(MESSAGE, credentials_sent=True)
                return caller
        error.required_scope = required_scope
        self._failed_logins.failed(error, scope, monotonic, context.request_id)
        raise error

    async def verified(self, scope: Scope, context: RequestContext, required_scope: str) -> Authenticated:
        """As `authenticate`, after verifying a bearer token that is not yet verified. Raises IssuerUnavailable, too."""
        try:
            return self.authenticate(scope, context, required_scope)
        except BearerNotVerified:
            pass
        snapshot, now, monotonic = self._snapshot(), self._clock.now(), self._clock.monotonic()
        self._failed_logins.check(scope, monotonic)
        token = header(scope, b"authorization").partition(" ")[2]
        try:
            unverified = read_bearer(token)
            keys = self._bearers.keys(caller_of(unverified, snapshot.bearers)[1])
            if keys.needs_fetch(unverified.kid, monotonic):
                await self._fetch(keys, unverified)
                snapshot, now, monotonic = self._snapshot(), self._clock.now(), self._clock.monotonic()
                self._failed_logins.check(scope, monotonic)
            self._bearers.verify(token, snapshot.bearers, now, monotonic)
        except Unauthenticated as error:
            error.required_scope = required_scope
            self._failed_logins.failed(error, scope, monotonic, context.request_id)
            raise
        return self.authenticate(scope, context, required_scope)

    async def _fetch(self, keys: IssuerKeys, unverified: UnverifiedBearer) -> None:
        """Fetch an issuer's key set, unless another request did so in the meantime."""
        async with self._fetching.setdefault(keys, anyio.Lock()):
            monotonic = self._clock.monotonic()
            if not keys.needs_fetch(unverified.kid, monotonic):
                return
            if await anyio.to_thread.run_sync(keys.refresh, unverified.kid, monotonic, limiter=self._fetches):
                self._count_fetch(_host(unverified.issuer), not keys.failure)
            if keys.failure:
                _log.warning("issuer's keys not fetched", error=keys.failure)

    async def authenticated_body(
        self, scope: Scope, receive: Receive, context: RequestContext, required_scope: str, limit_bytes: int
    ) -> tuple[Authenticated, dict[str, Any]]:
        """As `verified`, once the body is complete, and the body as a JSON object. Authenticates before as well, so
        that the body of an unauthenticated client is never read."""
        await self.verified(scope, context, required_scope)
        body = await read_json(scope, receive, limit_bytes)
        return await self.verified(scope, context, required_scope), body

    async def caller(self, scope: Scope, context: RequestContext, required_scope: str) -> Caller:
        """As `verified`, the caller alone."""
        return (await self.verified(scope, context, required_scope))[0]

    async def caller_and_body(
        self, scope: Scope, receive: Receive, context: RequestContext, required_scope: str, limit_bytes: int
    ) -> tuple[Caller, dict[str, Any]]:
        """As `authenticated_body`, the caller and the body alone."""
        (caller, _, _), body = await self.authenticated_body(scope, receive, context, required_scope, limit_bytes)
        return caller, body

    def key_set_ages(self) -> dict[str, float]:
        """By issuer's host, the age in seconds of the oldest key set that is in use. Any thread may call it."""
        ages = self._bearers.key_set_ages(self._snapshot().bearers, self._clock.monotonic())
        by_host: dict[str, float] = {}
        for issuer, age in ages.items():
            by_host[_host(issuer)] = max(age, by_host.get(_host(issuer), 0.0))
        return by_host

    async def run_in_thread(self, call: Callable[[], _T]) -> _T:
        """Run a call that may block, in a thread. Its end is awaited even when the client disconnects."""
        return await anyio.to_thread.run_sync(call, limiter=self._threads)


def _host(issuer: str) -> str:
    """The host of an issuer's URL: its path may name a tenant."""
    return urlsplit(issuer).hostname or "-"
