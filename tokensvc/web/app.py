"""ASGI application: assigns a request id, dispatches, renders errors, measures requests and writes the access log.

Invariants
- On the hot path a route is found by its whole path, with no router in between. Path templates such as `/v1/keys/{id}`
  are tried next, then routes that cover all paths below their own, and every other request goes to the fallback
  application (Starlette). Its responses get the request id and a line in the access log too.
- A path parameter that cannot be an id is passed on as "", which matches nothing: each route responds with its own 404,
  and the value never reaches a store.
- The request id is ours, never the client's: a random prefix per process and a counter.
- Every request is counted in the metrics, and logged except successful probes and scrapes, preflights, and what an
  overloaded worker rejects: that has to be cheap.
- Log, metrics and traces show the template of a route, never the path that was sent: that may contain a pasted secret.
- Without a tracer, no code looks for a trace. A request that is handled in a task has its span from the start, so that
  what it waits for is within it; one that is handled in one iteration gets its span at its end.
- All log lines of a request have its request id, and its trace id if it has one: in a task by the log's context.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokensvc.clock import Clock
from tokensvc.errors import TokensvcError
from tokensvc.http.body import ClientDisconnected
from tokensvc.http.problem_details import Response, error_response, internal_error, problem_response
from tokensvc.jose.signing.signer import sign_each
from tokensvc.log import exception_fields, structlog
from tokensvc.metrics import HandledRequest, HandledRequestTuple
from tokensvc.web.access_log import AccessLog
from tokensvc.web.context import NowaitEndpoint, PendingResponse, RequestContext, Respond, Route, Routes, SignMany
from tokensvc.web.cors import Cors
from tokensvc.web.overload import REJECTION, OverloadLimit
from tokensvc.web.refusals import RecordRefusal
from tokensvc.web.request_traces import RequestTracer, TracedContext
from tokensvc.web.signing_batch import SigningBatch

NO_LIMIT = 1_000_000
"""Of requests in flight."""
_NO_CLIENT = ("",)
_NO_ROUTE = "-"
_REJECTED = (REJECTION.status, REJECTION.code, "", "", "", 0.0, "", False)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""The ids of keys, rotations, revocations and denials."""
_NO_NOWAIT_ENDPOINT: tuple[str, NowaitEndpoint | None] = ("", None)

_log = structlog.get_logger(__name__)


CountRequest = Callable[[HandledRequestTuple], None]
"""As `metrics.Metrics.http_request`."""


class Application:
    """The ASGI application that faces the network."""

    def __init__(
        self,
        routes: Routes,
        fallback: ASGIApp,
        clock: Clock,
        access_log: AccessLog | None,
        sign_many: SignMany = sign_each,
        record_refusal: RecordRefusal | None = None,
        cors: Cors | None = None,
        max_in_flight: int = NO_LIMIT,
        on_rejected: Callable[[str], None] = lambda _path: None,
        count_request: CountRequest = lambda _request: None,
        tracer: RequestTracer | None = None,
    ) -> None:
        """`count_request` gets a `HandledRequest` for every request."""
        self._routes = {path: methods for path, methods in routes.items() if "{" not in path}
        self._templates = [(path.split("/"), path, methods) for path, methods in routes.items() if "{" in path]
        self._covering = [
            (f"{path}/", path, methods)
            for path, methods in routes.items()
            if any(route.covers_subpaths for route in methods)
        ]
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
        self._count_request = count_request
        self._tracer = tracer
        if tracer is not None:
            self._handle_in_task = self._handle_traced  # type: ignore[method-assign] # chosen once, so that no request has to
            self._record = self._record_traced  # type: ignore[method-assign] # as above
            self.handle_nowait = self._handle_traced_nowait  # type: ignore[method-assign] # as above
        self._record_refusal = record_refusal
        self._cors = cors
        self._prefix = secrets.token_hex(6)
        self._count = count(1)
        self._batch = SigningBatch(self._complete, sign_many)
        self._limit = OverloadLimit(max_in_flight, clock.monotonic, self._batch.flush)
        self._on_rejected = on_rejected
        """Called with the path of each request that is rejected because the worker is overloaded."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._fallback(scope, receive, send)
            return
        await self._handle_in_task(scope, receive, send)

    async def _handle_in_task(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = RequestContext(f"{self._prefix}-{next(self._count):x}", self._monotonic())
        await self._handle(scope, receive, send, context)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        structlog.contextvars.bind_contextvars(request_id=context.request_id)
        path, routes = scope["path"], self._routes.get(scope["path"])
        if routes is None:
            path, routes = self._match_template(scope)
        if routes is None:
            await self._call_fallback(scope, receive, send, context)
            return
        if self._cors is not None and (preflight := self._cors.preflight(scope)) is not None:
            await _send(send, preflight, context.request_id)
            self._record(scope, path, preflight.status, preflight.code, context, is_logged=False)
            return
        route = _for_method(routes, scope["method"])
        is_probe = route is not None and not route.logs_success
        if not is_probe and not self._limit.admit_task():
            await _send(send, self._rejection(scope, path), context.request_id)
            return
        try:
            if route is None:
                response = _method_not_allowed(routes)
            else:
                response = await route.endpoint(scope, receive if is_probe else self._limit.outside(receive), context)
        except ClientDisconnected:
            return
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            response = self._failed(error, scope, context)
        finally:
            if not is_probe:
                self._limit.task_done()
        if self._cors is not None:
            response = self._cors.with_headers(response, scope, context.caller)
        await _send(send, response, context.request_id)
        is_logged = response.status >= 400 or route is None or route.logs_success
        self._record(scope, path, response.status, response.code, context, is_logged=is_logged)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """As `context.NowaitApplication.handle_nowait`."""
        method, endpoint = self._nowait_endpoints.get(scope["path"], _NO_NOWAIT_ENDPOINT)
        if endpoint is None or scope["method"] != method:
            return False
        if not self._limit.admit():
            respond(self._rejection(scope, scope["path"]), f"{self._prefix}-{next(self._count):x}")
            return True
        context = RequestContext(f"{self._prefix}-{next(self._count):x}", self._monotonic())
        try:
            pending = endpoint(scope, body, context)
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            self._respond(self._failed(error, scope, context), scope, context, respond)
            return True
        if pending is None:
            self._limit.withdraw()
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
        self._record(scope, scope["path"], response.status, response.code, context)
        if self._cors is not None:
            response = self._cors.with_headers(response, scope, context.caller)
        respond(response, context.request_id)

    def _failed(self, error: Exception, scope: Scope, context: RequestContext) -> Response:
        if self._record_refusal is not None and isinstance(error, TokensvcError):
            self._record_refusal(error, scope, context)
        return _failure_response(error, context)

    def _rejection(self, scope: Scope, path: str) -> Response:
        """The response of an overloaded worker to a request for this route."""
        self._on_rejected(scope["path"])
        self._count_request((0.0, scope["method"], path, *_REJECTED))
        return REJECTION if self._cors is None else self._cors.with_headers(REJECTION, scope, "")

    def _match_template(self, scope: Scope) -> tuple[str, Sequence[Route] | None]:
        """The template that matches the path, or the route that covers it, and its routes. A parameter matches one
        segment that is not empty."""
        segments = scope["path"].split("/")
        for template, path, routes in self._templates:
            if len(template) == len(segments) and all(_matches(*pair) for pair in zip(template, segments, strict=True)):
                values = {t[1:-1]: s for t, s in zip(template, segments, strict=True) if t.startswith("{")}
                scope["path_params"] = {name: v if _ID.fullmatch(v) else "" for name, v in values.items()}
                return path, routes
        for beginning, path, routes in self._covering:
            if scope["path"].startswith(beginning):
                return path, routes
        return _NO_ROUTE, None

    def _record(
        self, scope: Scope, path: str, status: int, code: str, context: RequestContext, *, is_logged: bool = True
    ) -> None:
        """Count a request that has its response, and log it."""
        now, client = self._monotonic(), (scope.get("client") or _NO_CLIENT)[0]
        seconds = now - context.started_at
        caller, request_id = context.caller, context.request_id
        request = now, scope["method"], path, status, code, caller, client, request_id, seconds, "", False
        self._count_request(request)
        if is_logged and self._access_log is not None:
            self._access_log.add(request)

    def _record_traced(
        self, scope: Scope, path: str, status: int, code: str, context: RequestContext, *, is_logged: bool = True
    ) -> None:
        """As `_record`, with the request's trace."""
        assert self._tracer is not None  # noqa: S101 - else this is not called
        now, client = self._monotonic(), (scope.get("client") or _NO_CLIENT)[0]
        seconds = now - context.started_at
        untraced = now, scope["method"], path, status, code, context.caller, client, context.request_id, seconds
        if isinstance(context, TracedContext):
            trace = context.span.end(HandledRequest(*untraced, "", False))
        else:
            trace = self._tracer.record(scope, HandledRequest(*untraced, "", False))
        request = (*untraced, *trace)
        self._count_request(request)
        if is_logged and self._access_log is not None:
            self._access_log.add(request)

    async def _handle_traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As `_handle_in_task`, within the request's span."""
        assert self._tracer is not None  # noqa: S101 - as above
        with self._tracer.start(scope) as span:
            context = TracedContext(f"{self._prefix}-{next(self._count):x}", self._monotonic(), span)
            await self._handle(scope, receive, send, context)

    def _handle_traced_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """As `handle_nowait`, with the trace id in the log's lines."""
        assert self._tracer is not None  # noqa: S101 - as above
        if not (trace_id := self._tracer.trace_id(scope)):
            return Application.handle_nowait(self, scope, body, respond)
        tokens = structlog.contextvars.bind_contextvars(trace_id=trace_id)
        try:
            return Application.handle_nowait(self, scope, body, respond)
        finally:
            structlog.contextvars.reset_contextvars(**tokens)

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
        if status:
            self._record(scope, _NO_ROUTE, status, "", context)


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
    headers = [*response.headers, (b"x-request-id", request_id.encode())]
    if response.status != 204:  # RFC 9110, section 8.6
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _log_internal_error(error: Exception, request_id: str) -> None:
    """Log the type and the frames, but not the message: it may repeat the input."""
    _log.error("internal error", request_id=request_id, **exception_fields(error))
