"""ASGI application: assigns a request id, dispatches, renders errors and writes the access log.

Invariants
- On the hot path a route is found by its whole path, with no router in between. Path templates such as `/v1/keys/{id}`
  are tried next, and every other request goes to the fallback application (Starlette). Its responses get the request id
  and a line in the access log too.
- A path parameter that cannot be an id is passed on as "", which matches nothing: each route responds with its own 404,
  and the value never reaches a store.
- The request id is ours, never the client's: a random prefix per process and a counter.
- Every request is logged, except successful probes and scrapes.
- The log shows the template of a route, never the path that was sent: that may contain a pasted secret.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokensvc.clock import Clock
from tokensvc.errors import TokensvcError
from tokensvc.http.body import ClientDisconnected
from tokensvc.http.problem_details import Response, error_response, internal_error, problem_response
from tokensvc.jose.signing.signer import sign_each
from tokensvc.log import exception_fields, structlog
from tokensvc.web.access_log import AccessLog
from tokensvc.web.context import NowaitEndpoint, PendingResponse, RequestContext, Respond, Route, Routes, SignMany
from tokensvc.web.signing_batch import SigningBatch

_NO_CLIENT = ("",)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""The ids of keys, rotations, revocations and denials."""
_NO_NOWAIT_ENDPOINT: tuple[str, NowaitEndpoint | None] = ("", None)

_log = structlog.get_logger(__name__)


class Application:
    """The ASGI application that faces the network."""

    def __init__(
        self,
        routes: Routes,
        fallback: ASGIApp,
        clock: Clock,
        access_log: AccessLog | None,
        sign_many: SignMany = sign_each,
    ) -> None:
        self._routes = {path: methods for path, methods in routes.items() if "{" not in path}
        self._templates = [(path.split("/"), path, methods) for path, methods in routes.items() if "{" in path]
        self._nowait_endpoints = {
            path: (route.method, route.handle_nowait)
            for path, methods in self._routes.items()
            for route in methods
            if route.handle_nowait is not None
        }
        """By path: the hot path has one method each."""
        self._fallback = fallback
        self._monotonic = clock.monotonic
        self._access_log = access_log
        self._prefix = secrets.token_hex(6)
        self._count = count(1)
        self._batch = SigningBatch(self._complete, sign_many)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._fallback(scope, receive, send)
            return
        context = RequestContext(f"{self._prefix}-{next(self._count):x}", self._monotonic())
        path, routes = scope["path"], self._routes.get(scope["path"])
        if routes is None:
            path, routes = self._match_template(scope)
        if routes is None:
            await self._call_fallback(scope, receive, send, context)
            return
        route = _for_method(routes, scope["method"])
        try:
            if route is None:
                response = _method_not_allowed(routes)
            else:
                response = await route.endpoint(scope, receive, context)
        except ClientDisconnected:
            return
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            response = _failure_response(error, context)
        await _send(send, response, context.request_id)
        if self._access_log is not None and (response.status >= 400 or route is None or route.logs_success):
            self._log_request(scope, path, response.status, response.code, context, self._access_log)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """As `context.NowaitApplication.handle_nowait`."""
        method, endpoint = self._nowait_endpoints.get(scope["path"], _NO_NOWAIT_ENDPOINT)
        if endpoint is None or scope["method"] != method:
            return False
        context = RequestContext(f"{self._prefix}-{next(self._count):x}", self._monotonic())
        try:
            pending = endpoint(scope, body, context)
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            self._respond(_failure_response(error, context), scope, context, respond)
            return True
        if pending is None:
            return False
        self._batch.add(pending, scope, context, respond)
        return True

    def flush(self) -> None:
        """As `context.NowaitApplication.flush`."""
        self._batch.flush()

    def _complete(
        self,
        pending: PendingResponse,
        scope: Scope,
        context: RequestContext,
        respond: Respond,
        signature: bytes | Exception,
        seconds: float,
    ) -> None:
        """Respond to a request whose signature is made, or has failed."""
        try:
            if isinstance(signature, Exception):
                response = _failure_response(signature, context)
            else:
                response = pending.complete(signature, seconds)
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            response = _failure_response(error, context)
        try:
            self._respond(response, scope, context, respond)
        except Exception as error:  # noqa: BLE001 - the rest of the batch still needs its responses
            _log_internal_error(error, context.request_id)

    def _respond(self, response: Response, scope: Scope, context: RequestContext, respond: Respond) -> None:
        if self._access_log is not None:
            self._log_request(scope, scope["path"], response.status, response.code, context, self._access_log)
        respond(response, context.request_id)

    def _match_template(self, scope: Scope) -> tuple[str, Sequence[Route] | None]:
        """The template that matches the path, and its routes. A parameter matches one segment that is not empty."""
        segments = scope["path"].split("/")
        for template, path, routes in self._templates:
            if len(template) == len(segments) and all(_matches(*pair) for pair in zip(template, segments, strict=True)):
                values = {t[1:-1]: s for t, s in zip(template, segments, strict=True) if t.startswith("{")}
                scope["path_params"] = {name: v if _ID.fullmatch(v) else "" for name, v in values.items()}
                return path, routes
        return "-", None

    def _log_request(
        self, scope: Scope, path: str, status: int, code: str, context: RequestContext, log: AccessLog
    ) -> None:
        now, client = self._monotonic(), (scope.get("client") or _NO_CLIENT)[0]
        seconds = now - context.started_at
        log.add((now, scope["method"], path, status, code, context.caller, client, context.request_id, seconds))

    async def _call_fallback(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        """Let the fallback application respond, and add the request id."""
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
            await send(message)

        try:
            await self._fallback(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            _log_internal_error(error, context.request_id)
            if not status:
                await _send(send, internal_error(context.request_id), context.request_id)
                status = 500
        if status and self._access_log is not None:
            self._log_request(scope, "-", status, "", context, self._access_log)


def _matches(template: str, segment: str) -> bool:
    return bool(segment) if template.startswith("{") else template == segment


def _for_method(routes: Sequence[Route], method: str) -> Route | None:
    """The route for a method; HEAD is handled as GET."""
    for route in routes:
        if route.method == method or (method, route.method) == ("HEAD", "GET"):
            return route
    return None


def _method_not_allowed(routes: Sequence[Route]) -> Response:
    methods = ", ".join(route.method for route in routes)
    detail = f"Method not allowed; this route supports {methods}."
    return problem_response(405, "method_not_allowed", detail, ((b"allow", methods.encode()),))


def _failure_response(error: Exception, context: RequestContext) -> Response:
    """The problem of a TokensvcError; for any other exception one fixed text, while its type goes to the log."""
    if not isinstance(error, TokensvcError):
        _log_internal_error(error, context.request_id)
        return internal_error(context.request_id)
    if error.detail:
        _log.warning("request failed", request_id=context.request_id, code=error.code, detail=error.detail)
    return error_response(error)


async def _send(send: Send, response: Response, request_id: str) -> None:
    length = str(len(response.body)).encode()
    headers = [*response.headers, (b"content-length", length), (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _log_internal_error(error: Exception, request_id: str) -> None:
    """Log the type and the frames, but not the message: it may repeat the input."""
    _log.error("internal error", request_id=request_id, **exception_fields(error))
