"""The playback edge on the wire: `/api/video/v1/<region>.<account>.channel.<id>.m3u8`.

Rules of the file
- The token is read from the raw query, and path and query go into no log.
- GET and HEAD differ in the body alone, and in that only a GET spends a single use.
- Every response has Access-Control-Allow-Origin, errors and paths without a playlist included; only a playlist that the
  token restricts to other origins has none (`local_ivs/edge/playback.py`). A browser hides the status of a response
  without it, and the IVS player then reports a network error in place of the documented 403 or 404.
- INFERRED: preflights are answered for every origin and path; whether a player may read the playlist is said with it.
"""

from __future__ import annotations

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from tokensvc.aws.arn import channel_of_path
from tokensvc.clock import Clock
from tokensvc.errors import StoreError
from tokensvc.local_ivs.edge import errors as refusals
from tokensvc.local_ivs.edge.playback import ANY_ORIGIN, PlaybackHandler, PlaybackRequest
from tokensvc.local_ivs.http.lifespan import HttpResponse, base_url, run_lifespan, send_response
from tokensvc.log import exception_fields, structlog

MEDIA_PATHS = ("/v1/playlist/", "/v1/segment/")
"""Where the URLs of variants and segments begin, as in IVS."""
PATHS = ("/api/video/", *MEDIA_PATHS)
"""Where the edge's URLs begin; an application with other routes sends these to the edge."""
THREADS = 8

_ALLOW = "GET, HEAD, OPTIONS"
_PREFLIGHT = (
    ("access-control-allow-methods", _ALLOW),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "600"),
)
_JSON = (("content-type", "application/json"), ("cache-control", "no-store"))

_log = structlog.get_logger(__name__)


class EdgeApp:
    """One ASGI application: what players ask for."""

    def __init__(self, gate: PlaybackHandler, clock: Clock, *, public_url: str | None = None) -> None:
        self._gate = gate
        self._clock = clock
        self._public_url = public_url
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(receive, send)
        answer = await anyio.to_thread.run_sync(self._answer, scope, limiter=self._limiter)
        return await send_response(send, answer, with_body=scope["method"] != "HEAD")

    def _answer(self, scope: Scope) -> HttpResponse:
        try:
            return self._respond(scope)
        except StoreError as failure:
            _log.error("edge_store_failed", code=failure.code, detail=failure.detail)
            return _readable(503, ("retry-after", "1"))
        except Exception as failure:  # noqa: BLE001 - the last resort: rendered here, reported in the log
            _log.error("edge_failed", **exception_fields(failure))
            return _readable(500)

    def _respond(self, scope: Scope) -> HttpResponse:
        path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        if scope["method"] == "OPTIONS":
            return _readable(204, *_PREFLIGHT)
        channel = channel_of_path(scope["path"])
        if channel is None:
            error = refusals.NO_MEDIA if scope["path"].startswith(MEDIA_PATHS) else refusals.NO_PLAYLIST
            return _readable(404, *_JSON, body=refusals.error_body(path, query, error))
        if scope["method"] not in ("GET", "HEAD"):
            return _readable(405, ("allow", _ALLOW))
        origin, url = _origin(scope), base_url(scope, self._public_url)
        visit = PlaybackRequest(channel, path, query, origin, url, is_get=scope["method"] == "GET")
        return HttpResponse(*self._gate.admit(visit, self._clock.now()))


def _readable(status: int, *headers: tuple[str, str], body: bytes = b"") -> HttpResponse:
    """A response that pages of every origin may read."""
    return HttpResponse(status, (ANY_ORIGIN, *headers), body)


def _origin(scope: Scope) -> str:
    """The `Origin` header, "" when none was sent; repeated ones as the one list that they mean (RFC 9110, 5.3)."""
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"origin")
