"""The playback edge over HTTP: multivariant playlists, variant playlists and segments.

`/api/video/v1/<region>.<account>.channel.<id>.m3u8` starts playback; `/v1/playlist/` and `/v1/segment/` with the id of
a session continue it.

Invariants
- The token is read from the raw query. Neither path nor query is logged.
- HEAD differs from GET only in that it has no body, and that it starts no session and spends no single use, which is
  inferred (`local_ivs/edge/playback.py`, `local_ivs/edge/single_use.py`).
- Every response has Access-Control-Allow-Origin, including errors and unknown paths, except for what the token or the
  policy restricts to other origins: the multivariant playlist, and with strict enforcement every playlist and segment.
  A browser hides the status of a response without it, and the IVS player then reports a network error instead of the
  documented 403 or 404.
- INFERRED: Preflight requests to the edge are answered for every origin and path; the response to the actual request
  decides whether a player may read the playlist.
"""

from __future__ import annotations

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from tokensvc.aws.arn import channel_of_path
from tokensvc.clock import Clock
from tokensvc.errors import StoreError
from tokensvc.local_ivs.edge import errors
from tokensvc.local_ivs.edge.delivery import Delivery, MediaRequest, parse_request
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest
from tokensvc.local_ivs.edge.responses import ANY_ORIGIN
from tokensvc.local_ivs.http.asgi import HttpResponse, base_url, run_lifespan, send_response
from tokensvc.log import exception_fields, structlog

PATHS = ("/api/video/", "/v1/playlist/", "/v1/segment/")
"""The paths of the edge begin with these; an application with other routes sends them to the edge."""
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
    """The ASGI application of the playback edge."""

    def __init__(
        self, handler: PlaybackHandler, delivery: Delivery, clock: Clock, *, public_url: str | None = None
    ) -> None:
        self._handler = handler
        self._delivery = delivery
        self._clock = clock
        self._public_url = public_url
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(receive, send)
        response = await anyio.to_thread.run_sync(self._respond, scope, limiter=self._limiter)
        return await send_response(send, response, with_body=scope["method"] != "HEAD")

    def _respond(self, scope: Scope) -> HttpResponse:
        try:
            return self._handle(scope)
        except StoreError as failure:
            _log.error("store of the playback edge failed", code=failure.code, detail=failure.detail)
            return _cors_response(503, ("retry-after", "1"))
        except Exception as failure:  # noqa: BLE001 - the last resort: logged and rendered here
            _log.error("request to the playback edge failed", **exception_fields(failure))
            return _cors_response(500)

    def _handle(self, scope: Scope) -> HttpResponse:
        path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        if scope["method"] == "OPTIONS":
            return _cors_response(204, *_PREFLIGHT)
        origin, url, now = _origin(scope), base_url(scope, self._public_url), self._clock.now()
        request: PlaybackRequest | MediaRequest | None = parse_request(path, query, origin, url)
        if channel := channel_of_path(scope["path"]):
            is_get, address = scope["method"] == "GET", (scope.get("client") or ("",))[0]
            request = PlaybackRequest(channel, path, query, origin, url, is_get, address, scope["headers"])
        if request is None:
            return _cors_response(404, *_JSON, body=errors.error_body(path, query, errors.NO_PLAYLIST))
        if scope["method"] not in ("GET", "HEAD"):
            return _cors_response(405, ("allow", _ALLOW))
        if isinstance(request, MediaRequest):
            return HttpResponse(*self._delivery.handle(request, now))
        return HttpResponse(*self._handler.handle(request, now))


def _cors_response(status: int, *headers: tuple[str, str], body: bytes = b"") -> HttpResponse:
    """A response that web pages of every origin may read."""
    return HttpResponse(status, (ANY_ORIGIN, *headers), body)


def _origin(scope: Scope) -> str:
    """The `Origin` header, "" if none was sent. Repeated headers are joined into one list (RFC 9110, 5.3)."""
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"origin")
