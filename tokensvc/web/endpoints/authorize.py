"""`GET /authorize`: whether a proxy may serve a file to a player (nginx's auth_request, Caddy's forward_auth, Envoy's
ext_authz over HTTP).

Invariants
- Answered from the worker's snapshot, which must be fresh; only a single use needs the store, in a thread. Whatever
  fails refuses: a proxy serves nothing unless the response is 204, or 200 for Envoy, which accepts nothing else.
- A start is never cached, nor is a refusal or a new cookie. A running session's decision may be cached for
  DECISION_MAX_AGE_SECONDS; with the snapshot's refresh a revocation or denial takes effect within 12 seconds.
- The cookie is a session, never the token, so requests for segments spend nothing. It is for the folder of one channel,
  by its path and by its signed content. Always `Secure`: browsers and curl send such cookies to a loopback address over
  HTTP as well, so local trials need no exception.
- A HEAD starts nothing: it spends no single use and begins no session.
- A page gets CORS headers for the session's own origins, with credentials; where a token names no origins, any page may
  read what it gets without the cookie. Any page may read a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope

from tokensvc.clock import Clock
from tokensvc.errors import SubjectKeyLost
from tokensvc.http.body import header
from tokensvc.http.problem_details import Headers, Response, problem_response
from tokensvc.origins import matches, parse_origin, split_origins
from tokensvc.tokens import claims as c
from tokensvc.tokens.channel_folders import ChannelFolder, ChannelFolders
from tokensvc.tokens.playback_decision import (
    Refusal,
    attempt_start,
    is_started_by,
    refusal_of,
    refusal_of_session,
)
from tokensvc.tokens.playback_session import PlaybackSession, encode_session, read_session, started_session
from tokensvc.tokens.single_uses import SingleUseStore, single_use_digest
from tokensvc.tokens.snapshot import Snapshot, require_fresh
from tokensvc.tokens.validation import RULE_HEADER, TOKEN_PARAMETER, validate
from tokensvc.web.context import RequestContext
from tokensvc.web.original_request import OriginalRequest, Unreadable, original_request

PATH = "/authorize"
COOKIE = "tokensvc_session"
_RULE_HEADER = RULE_HEADER.encode()
DECISION_MAX_AGE_SECONDS = 9
"""Proxies count whole seconds, and so keep a decision for up to a second longer."""
MAX_CONCURRENT_STORE_CALLS = 8
STARTED, CONTINUED = "started", "continued"
_NO_TOKEN = Refusal("token-required", "no token, and no session of this channel that is still running")
_SEVERAL_TOKENS = Refusal("one-token", "more than one token was sent")
_NO_CHANNEL = Refusal("path", "the path belongs to no channel, or servers could read it differently")
_NO_STORE: Headers = ((b"cache-control", b"no-store"),)
_VARY = (b"vary", b"origin")
_CREDENTIALS = (b"access-control-allow-credentials", b"true")


class _Admission(NamedTuple):
    """A request that is admitted."""

    outcome: str
    folder: ChannelFolder
    session: PlaybackSession
    sets_cookie: bool
    may_be_cached: bool


class _Refused(NamedTuple):
    """A request that is refused."""

    refusal: Refusal
    readable_by: Sequence[str] = ()
    """The origins whose pages may read the refusal although they sent the cookie; `*` for all."""


_ANY_PAGE = ("*",)


class AuthorizeRoute:
    """The endpoint for the authorization subrequests of proxies."""

    def __init__(
        self,
        *,
        folders: ChannelFolders,
        single_uses: SingleUseStore,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
        lease_seconds: float,
        count: Callable[[str], None],
    ) -> None:
        """`count` gets the outcome of each request: STARTED, CONTINUED, or the rule that refused it."""
        self._folders = folders
        self._single_uses = single_uses
        self._snapshot = snapshot
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._count = count
        self._threads = anyio.CapacityLimiter(MAX_CONCURRENT_STORE_CALLS)

    async def authorize(self, scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        """`GET /authorize`. Raises SnapshotStale, SubjectKeyLost and StoreError."""
        snapshot, now, origin = self._snapshot(), self._clock.now(), header(scope, b"origin")
        require_fresh(snapshot, now, self._clock.monotonic(), self._lease_seconds)
        if not snapshot.subject_key:
            raise SubjectKeyLost("the store has lost the subject key, which signs the sessions of players")
        try:
            decided = await self._decide(scope, original_request(scope, PATH), origin, snapshot, now)
        except Unreadable as problem:
            decided = _Refused(Refusal("original-request", str(problem)))
        if isinstance(decided, _Refused):
            self._count(decided.refusal.rule)
            return _refused(decided, origin)
        self._count(decided.outcome)
        headers = _headers(decided, snapshot.subject_key, origin, now)
        return Response(204 if scope["path"] == PATH else 200, b"", headers, decided.outcome)

    async def _decide(
        self, scope: Scope, request: OriginalRequest, origin: str, snapshot: Snapshot, now: float
    ) -> _Admission | _Refused:
        folder = self._folders.folder_of(request.path)
        if folder is None:
            return _Refused(_NO_CHANNEL)
        in_query, in_header = request.parameters(TOKEN_PARAMETER), _bearer_tokens(scope)
        tokens = {*in_query, *in_header}
        if len(in_query) > 1 or len(tokens) > 1:
            return _Refused(_SEVERAL_TOKENS, _ANY_PAGE)
        token = next(iter(tokens), "")
        session = read_session(_cookie(scope), str(folder.channel), snapshot.subject_key, now)
        if session is not None and (not token or (not in_query and is_started_by(session, token))):
            return _continued(folder, session, snapshot, origin, now)
        if not token:
            return _Refused(_NO_TOKEN)
        return await self._start(token, request, folder, snapshot, origin, now)

    async def _start(
        self, token: str, request: OriginalRequest, folder: ChannelFolder, snapshot: Snapshot, origin: str, now: float
    ) -> _Admission | _Refused:
        attempt, finder = attempt_start(snapshot, folder.channel, token, origin, now)
        result = validate(attempt)
        if (refusal := refusal_of(result)) is not None:
            return _Refused(refusal, _ANY_PAGE)
        is_get = request.method == "GET"
        uuid = result.claims.get(c.SINGLE_USE_UUID)
        if uuid is not None and await self._is_spent(str(folder.channel), uuid, spends=is_get):
            refusal = refusal_of(validate(attempt._replace(spent=True)))
            assert refusal is not None  # noqa: S101 - `spent` fails the rule
            return _Refused(refusal, _ANY_PAGE)
        session = started_session(token, finder.key_id, result.claims, now)
        return _Admission(STARTED, folder, session, sets_cookie=is_get, may_be_cached=False)

    async def _is_spent(self, channel: str, uuid: str, *, spends: bool) -> bool:
        """Whether a single use was spent before; `spends`: it is from now on."""
        digest = single_use_digest(channel, uuid)
        if spends:
            return not await anyio.to_thread.run_sync(self._single_uses.spend, digest, limiter=self._threads)
        return await anyio.to_thread.run_sync(self._single_uses.is_spent, digest, limiter=self._threads)


def _continued(
    folder: ChannelFolder, session: PlaybackSession, snapshot: Snapshot, origin: str, now: float
) -> _Admission | _Refused:
    if (refusal := refusal_of_session(session, snapshot, origin, now)) is not None:
        return _Refused(refusal, split_origins(session.origins or ""))
    renewed = session.renewed(now)
    return _Admission(
        CONTINUED, folder, renewed or session, sets_cookie=renewed is not None, may_be_cached=renewed is None
    )


def _headers(admission: _Admission, subject_key: bytes, origin: str, now: float) -> Headers:
    session = admission.session
    remaining = int(session.expires_at - now)
    headers: Headers = _NO_STORE
    if admission.may_be_cached:
        headers = ((b"cache-control", b"max-age=%d" % min(DECISION_MAX_AGE_SECONDS, remaining)),)
    if admission.sets_cookie:
        value = encode_session(session, subject_key)
        cookie = f"{COOKIE}={value}; Path={admission.folder.path}; Max-Age={remaining}; Secure; HttpOnly; SameSite=None"
        headers += ((b"set-cookie", cookie.encode("ascii")),)
    return (*headers, *_cors(origin, session.origins))


def _cors(origin: str, origins: str | None) -> Headers:
    """Where every origin is allowed, none gets credentials: any page could read the stream with the viewer's cookie."""
    entries = ["*"] if origins is None else split_origins(origins)
    if not origin or not matches(origin, entries):
        return (_VARY,)
    if "*" in entries:
        return ((b"access-control-allow-origin", b"*"), _VARY)
    return (_allow(origin), _CREDENTIALS, _VARY)


def _allow(origin: str) -> tuple[bytes, bytes]:
    """Of an origin that has been parsed, so that it is one and nothing else."""
    return b"access-control-allow-origin", origin.encode("ascii")


def _refused(refused: _Refused, origin: str) -> Response:
    """A page that sends the cookie may read only what it knows without the cookie, that is the refusal of a token that
    it sent itself, or what the session's origins let it read. Else every page could find out whether the viewer who
    opens it watches a channel. Without the cookie every page may read every refusal."""
    refusal = refused.refusal
    headers: Headers = (*_NO_STORE, (_RULE_HEADER, refusal.rule.encode()), _VARY)
    if parse_origin(origin) is not None:
        if refused.readable_by is _ANY_PAGE or (
            "*" not in refused.readable_by and matches(origin, refused.readable_by)
        ):
            headers += (_allow(origin), _CREDENTIALS)
        else:
            headers += ((b"access-control-allow-origin", b"*"),)
        headers += ((b"access-control-expose-headers", _RULE_HEADER),)
    detail = f"{refusal.rule}: {refusal.message}"
    if refusal is _NO_TOKEN:
        headers += ((b"www-authenticate", b'Bearer realm="tokensvc"'),)
        return problem_response(401, "playback_unauthenticated", detail, headers)
    return problem_response(403, "playback_denied", detail, headers)


def _bearer_tokens(scope: Scope) -> list[str]:
    """The tokens of the Authorization header; other schemes than Bearer are not for us."""
    values = [value.decode("latin-1").partition(" ") for name, value in scope["headers"] if name == b"authorization"]
    return [token.strip() for scheme, _, token in values if scheme.lower() == "bearer" and token.strip()]


def _cookie(scope: Scope) -> str:
    """The value of our cookie, or ""; the first one counts, as for proxies that cache decisions by it."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            text: str = value.decode("latin-1")
            for pair in text.split(";"):
                cookie, _, content = pair.strip().partition("=")
                if cookie == COOKIE:
                    return content
    return ""
