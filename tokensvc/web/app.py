"""The front door: every request comes in here, gets its id, goes to its endpoint, and is answered and logged.

Rules of the file
- Routes are looked up by their whole path first, with no router before them: that is the hot path. Then come those
  with a part in braces, `/v1/keys/{id}`, and what is not among them goes to the app behind (Starlette), whose answers
  get the id and the log line too.
- A value in a path that no id can have is passed on as "", which names nothing: each route answers it with its own 404,
  and nothing of it reaches a store.
- The id is ours, never the client's: a prefix drawn at start and a count.
- Every request has a line in the log but for probes and scrapes that succeed.
- A path is logged as its route is written, and only when there is one; anything else could hold what someone pasted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokensvc.clock import Clock
from tokensvc.errors import TokensvcError
from tokensvc.http.body import ClientDisconnected
from tokensvc.http.problem_details import Response, problem_response, error_response, internal_error
from tokensvc.jose.signing.signer import sign_each
from tokensvc.log import exception_fields, structlog
from tokensvc.web.access_log import AccessLog
from tokensvc.web.context import PendingResponse, RequestContext, Respond, Route, SignMany
from tokensvc.web.signing_batch import SigningBatch

Routes = Mapping[str, Route]
"""By path. What stands for a part in braces is given to the route as `scope["path_params"]`."""

_NO_CLIENT = ("",)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""What an id of a key, rotation, revocation or denial may look like."""

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
        self._routes = {path: route for path, route in routes.items() if "{" not in path}
        self._shapes = [(path.split("/"), path, route) for path, route in routes.items() if "{" in path]
        self._fallback = fallback
        self._monotonic = clock.monotonic
        self._access_log = access_log
        self._prefix = secrets.token_hex(6)
        self._count = count(1)
        self._batch = SigningBatch(self._finish, sign_many)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._fallback(scope, receive, send)
            return
        context = RequestContext(f"{self._prefix}-{next(self._count):x}", self._monotonic())
        path, route = scope["path"], self._routes.get(scope["path"])
        if route is None:
            path, route = self._shaped(scope)
        if route is None:
            await self._pass_on(scope, receive, send, context)
            return
        try:
            taking = route.taking(scope["method"])
            if taking is None:
                response = _wrong_method(route.methods)
            else:
                response = await taking.endpoint(scope, receive, context)
        except ClientDisconnected:
            return
        except Exception as error:  # noqa: BLE001 - the last line of defence
            response = _failed(error, context)
        await _send(send, response, context.request_id)
        if self._access_log is not None and (route.logs_success or response.status >= 400):
            self._note(scope, path, response.status, response.code, context, self._access_log)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Take a request that came in whole, if its route can answer without waiting (`exchange.AnswersAtOnce`)."""
        route = self._routes.get(scope["path"])
        if route is None or route.handle_nowait is None or scope["method"] != route.method:
            return False
        context = RequestContext(f"{self._prefix}-{next(self._count):x}", self._monotonic())
        try:
            pending = route.handle_nowait(scope, body, context)
        except Exception as error:  # noqa: BLE001 - as above
            self._reply(_failed(error, context), scope, context, respond)
            return True
        if pending is None:
            return False
        self._batch.add(pending, scope, context, respond)
        return True

    def flush(self) -> None:
        self._batch.end()

    def _finish(
        self,
        pending: PendingResponse,
        scope: Scope,
        context: RequestContext,
        respond: Respond,
        signature: bytes | Exception,
        seconds: float,
    ) -> None:
        """Answer what was taken, now that it is signed."""
        try:
            if isinstance(signature, Exception):
                response = _failed(signature, context)
            else:
                response = pending.answer(signature, seconds)
        except Exception as error:  # noqa: BLE001 - as above
            response = _failed(error, context)
        try:
            self._reply(response, scope, context, respond)
        except Exception as error:  # noqa: BLE001 - the others of the turn are waiting
            _log_unknown(error, context.request_id)

    def _reply(self, response: Response, scope: Scope, context: RequestContext, respond: Respond) -> None:
        if self._access_log is not None:
            self._note(scope, scope["path"], response.status, response.code, context, self._access_log)
        respond(response, context.request_id)

    def _shaped(self, scope: Scope) -> tuple[str, Route | None]:
        """The route whose path this has but for the parts in braces, which are never empty."""
        parts = scope["path"].split("/")
        for shape, path, route in self._shapes:
            if len(shape) == len(parts) and all(_fits(*pair) for pair in zip(shape, parts, strict=True)):
                values = {s[1:-1]: p for s, p in zip(shape, parts, strict=True) if s.startswith("{")}
                scope["path_params"] = {name: v if _ID.fullmatch(v) else "" for name, v in values.items()}
                return path, route
        return "-", None

    def _note(self, scope: Scope, path: str, status: int, code: str, context: RequestContext, log: AccessLog) -> None:
        now, client = self._monotonic(), (scope.get("client") or _NO_CLIENT)[0]
        seconds = now - context.started_at
        log.add((now, scope["method"], path, status, code, context.caller, client, context.request_id, seconds))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        """Let the app behind answer, under our id."""
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
            await send(message)

        try:
            await self._fallback(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - as above
            _log_unknown(error, context.request_id)
            if not status:
                await _send(send, internal_error(context.request_id), context.request_id)
                status = 500
        if status and self._access_log is not None:
            self._note(scope, "-", status, "", context, self._access_log)


def _fits(shape: str, part: str) -> bool:
    return bool(part) if shape.startswith("{") else shape == part


def _wrong_method(methods: str) -> Response:
    return problem_response(405, "method_not_allowed", f"This route takes {methods}.", ((b"allow", methods.encode()),))


def _failed(error: Exception, context: RequestContext) -> Response:
    """The answer to what a use case refused; to what nobody foresaw, one fixed text."""
    if not isinstance(error, TokensvcError):
        _log_unknown(error, context.request_id)
        return internal_error(context.request_id)
    if error.detail:
        _log.warning("refused", request_id=context.request_id, code=error.code, detail=error.detail)
    return error_response(error)


async def _send(send: Send, response: Response, request_id: str) -> None:
    length = str(len(response.body)).encode()
    headers = [*response.headers, (b"content-length", length), (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _log_unknown(error: Exception, request_id: str) -> None:
    """Type and frames, not the message: what it says may repeat what it choked on."""
    _log.error("internal error", request_id=request_id, **exception_fields(error))
