"""The watch page over HTTP: `/watch`, its files under `/watch/static`, and its API under `/watch/api`.

Invariants
- Every request is checked by `http/same_origin.py` first. No response has a CORS header, so no other site reads one.
- The id of a playback session, which is a credential for its media, is sent in a header and never in a URL, since
  proxies and servers write URLs to their logs.
- Data is never stored by a browser (`no-store`); errors are RFC 9457 problem details, like the service's. An error of
  IVS itself keeps IVS's code.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
import orjson
from starlette.types import Receive, Scope, Send

from tokensvc.errors import TokensvcError
from tokensvc.http.body import ClientDisconnected, header, read_json
from tokensvc.http.problem_details import error_response, make_problem
from tokensvc.local_ivs.api_model import load, status_of
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import same_origin
from tokensvc.local_ivs.http.asgi import HttpResponse, base_url, send_response
from tokensvc.local_ivs.watch import static_files
from tokensvc.local_ivs.watch.actions import ACTIONS, READS, ActionRequest, Handler, WatchContext
from tokensvc.local_ivs.watch.token_source import Reply
from tokensvc.log import exception_fields, structlog

PATH = "/watch"
BODY_MAX_BYTES = 16 * 1024
THREADS = 4
SESSION_HEADER = b"tokensvc-watch-session"
"""The header of a read in which the page sends the id of its playback session."""
_STATIC, _API = f"{PATH}/static/", f"{PATH}/api/"
_HEADERS = (("cache-control", "no-store"), *static_files.SECURITY_HEADERS)

_log = structlog.get_logger(__name__)


class WatchPage:
    """The ASGI application of the page."""

    def __init__(self, context: WatchContext) -> None:
        self._context = context
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            same_origin.check_host(scope, self._context.public_url)
            response = await self._respond(scope, receive)
        except same_origin.NotSameOrigin as refused:
            response = _json(Reply(403, make_problem(403, refused.code, str(refused))))
        except ClientDisconnected:
            return
        except TokensvcError as error:
            failed = error_response(error)
            response = HttpResponse(failed.status, (*_decoded(failed.headers), *_HEADERS), failed.body)
        except IvsError as error:
            status = status_of(load(), error.code)
            response = _json(Reply(status, make_problem(status, error.code, error.message)))
        except Exception as failure:  # noqa: BLE001 - the last resort: logged and rendered here
            _log.error("request to the watch page failed", **exception_fields(failure))
            response = _json(Reply(500, make_problem(500, "internal_error", "Internal error; the log has it.")))
        await send_response(send, response, with_body=scope["method"] != "HEAD")

    async def _respond(self, scope: Scope, receive: Receive) -> HttpResponse:
        path, is_read = scope["path"], scope["method"] in ("GET", "HEAD")
        if path.startswith(_API):
            name = path.removeprefix(_API)
            if is_read and name in READS:
                return await self._call(READS[name], scope, {})
            if scope["method"] == "POST" and name in ACTIONS:
                same_origin.check_action(scope)
                return await self._call(ACTIONS[name], scope, await read_json(scope, receive, BODY_MAX_BYTES))
            if name in READS:
                return _method_not_allowed("GET, HEAD")
            return _method_not_allowed("POST") if name in ACTIONS else _not_found()
        name = static_files.INDEX if path in (PATH, f"{PATH}/") else path.removeprefix(_STATIC)
        if name not in static_files.names():
            return _not_found()
        if not is_read:
            return _method_not_allowed("GET, HEAD")
        return static_files.respond(name, header(scope, b"if-none-match"))

    async def _call(self, handler: Handler, scope: Scope, fields: dict[str, Any]) -> HttpResponse:
        request = ActionRequest(
            fields,
            _query(scope),
            base_url(scope, self._context.public_url),
            header(scope, SESSION_HEADER),
        )
        return _json(await anyio.to_thread.run_sync(handler, self._context, request, limiter=self._limiter))


def _json(reply: Reply) -> HttpResponse:
    kind = "application/problem+json" if reply.status >= 400 else "application/json"
    return HttpResponse(reply.status, (("content-type", kind), *_HEADERS), orjson.dumps(dict(reply.document)))


def _not_found() -> HttpResponse:
    return _json(Reply(404, make_problem(404, "route_not_found", "The watch page has no such route.")))


def _method_not_allowed(allowed: str) -> HttpResponse:
    """A 405, which must name the methods that there are (RFC 9110, section 15.5.6)."""
    detail = f"This route of the watch page has other methods: {allowed}."
    response = _json(Reply(405, make_problem(405, "method_not_allowed", detail)))
    return response._replace(headers=(("allow", allowed), *response.headers))


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def _decoded(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
