"""The playback edge on the wire: `/api/video/v1/<region>.<account>.channel.<id>.m3u8`.

Rules of the file
- The token is read from the raw query, and path and query go into no log.
- GET and HEAD differ in the body alone, and in that only a GET spends a single use.
- INFERRED: preflights are answered for every origin; whether a player may read the playlist is said with it.
"""

from __future__ import annotations

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from tokensvc.core.arn import channel_of_path
from tokensvc.edge import refusals
from tokensvc.edge.gate import Gate, Visit
from tokensvc.errors import StoreError
from tokensvc.ports.clock import Clock
from tokensvc.web.local.wire import WireAnswer, base_url, live, send_answer

PATHS = ("/api/video/v1/", "/v1/playlist/")
"""Where the edge's URLs begin; whoever mounts it beside other routes sends these to it."""
THREADS = 8

_ALLOW = "GET, HEAD, OPTIONS"
_PREFLIGHT = WireAnswer(
    204,
    (
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", _ALLOW),
        ("access-control-allow-headers", "*"),
        ("access-control-max-age", "600"),
    ),
    b"",
)
_JSON = (("content-type", "application/json"), ("cache-control", "no-store"))


class EdgeApp:
    """One ASGI application: what players ask for."""

    def __init__(self, gate: Gate, clock: Clock, *, public_url: str | None = None) -> None:
        self._gate = gate
        self._clock = clock
        self._public_url = public_url
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await live(receive, send)
        answer = await anyio.to_thread.run_sync(self._answer, scope, limiter=self._limiter)
        return await send_answer(send, answer, with_body=scope["method"] != "HEAD")

    def _answer(self, scope: Scope) -> WireAnswer:
        path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        channel = channel_of_path(scope["path"])
        if channel is None:
            return WireAnswer(404, _JSON, refusals.not_found(path, query))
        if scope["method"] == "OPTIONS":
            return _PREFLIGHT
        if scope["method"] not in ("GET", "HEAD"):
            return WireAnswer(405, (("allow", _ALLOW),), b"")
        origin, url = _origin(scope), base_url(scope, self._public_url)
        visit = Visit(channel, path, query, origin, url, is_get=scope["method"] == "GET")
        try:
            return WireAnswer(*self._gate.admit(visit, self._clock.now()))
        except StoreError:
            return WireAnswer(503, (("retry-after", "1"),), b"")


def _origin(scope: Scope) -> str:
    """The `Origin` header, "" when none was sent; repeated ones as the one list that they mean (RFC 9110, 5.3)."""
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"origin")
