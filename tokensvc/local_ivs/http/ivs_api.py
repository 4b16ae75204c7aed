"""The API of the local IVS over HTTP: AWS's rest-json protocol, signed with SigV4.

Invariants
- The signature is verified first, then the route, then the request, so that an unknown client learns nothing about
  what exists.
- Signature and route both use the raw path as it was sent; the signature includes the mount prefix.
- Every request gets a response of the protocol, unless an injected fault says otherwise. An exception other than
  IvsError is a bug of ours: the response has a fixed text, and the log line has the exception's type and stack, never
  its message, which may contain a stream key.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import orjson
from starlette.types import Receive, Scope, Send

from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import Clock
from tokensvc.errors import RequestTimeout, RequestTooLarge, StoreError
from tokensvc.http.abort_connection import abort_connection
from tokensvc.http.body import ClientDisconnected, header, read_body
from tokensvc.local_ivs.api_model import status_of
from tokensvc.local_ivs.errors import IvsError, unknown_operation
from tokensvc.local_ivs.faults import Fault, FaultKind, Faults
from tokensvc.local_ivs.http.api_headers import PREFLIGHT_HEADERS, response_headers
from tokensvc.local_ivs.http.asgi import HttpResponse, base_url, run_lifespan, send_response
from tokensvc.local_ivs.model import ApiModel, Operation, render_error
from tokensvc.local_ivs.service import READ_ONLY, LocalIvs
from tokensvc.local_ivs.sigv4 import SignatureVerifier, SignedRequest
from tokensvc.log import exception_fields, structlog

BODY_MAX_BYTES = 1024 * 1024
THREADS = 8
"""The maximum number of concurrent calls. The store lets one write at a time."""

_log = structlog.get_logger(__name__)


_DROPS = (FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER)
_INJECTED = " (an injected fault of the local IVS; DELETE /faults ends it)"
_BODY_ERRORS: Mapping[type, str] = {
    RequestTooLarge: "RequestEntityTooLargeException",
    RequestTimeout: "RequestTimeoutException",
}
"""IVS API reference, "Common Errors"."""
_NO_CONTENT = HttpResponse(204, (), b"")
_PREFLIGHT = HttpResponse(204, PREFLIGHT_HEADERS, b"")
"""INFERRED: Preflight requests to the API are answered on every path, unsigned as browsers send them."""


class _ParsedRequest(NamedTuple):
    """A verified and parsed request."""

    account_region: AccountRegion
    operation: Operation
    members: Mapping[str, Any]
    base_url: str


class IvsApi:
    """The ASGI application of the IVS API: every operation of the model."""

    def __init__(
        self,
        local_ivs: LocalIvs,
        model: ApiModel,
        verifier: SignatureVerifier,
        wall_clock: Clock,
        faults: Faults,
        *,
        prefix: str = "",
        public_url: str | None = None,
    ) -> None:
        self._local_ivs = local_ivs
        self._model = model
        self._verifier = verifier
        self._wall_clock = wall_clock
        self._faults = faults
        self._prefix = prefix.rstrip("/").encode()
        self._public_url = public_url
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._browser_headers = response_headers(model)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(receive, send)
        if scope["method"] == "OPTIONS":
            return await send_response(send, _PREFLIGHT)
        try:
            body = await read_body(scope, receive, BODY_MAX_BYTES)
        except ClientDisconnected:
            return None
        except (RequestTooLarge, RequestTimeout) as problem:
            response = self._error_response(IvsError(_BODY_ERRORS[type(problem)], problem.message))
            return await send_response(send, self._with_common_headers(scope, response, _new_request_id()))
        if self._is_read_only(scope):
            response, fault = self._respond(scope, body)
        else:
            response, fault = await anyio.to_thread.run_sync(self._respond, scope, body, limiter=self._limiter)
        if fault is not None and fault.kind in _DROPS:
            return await abort_connection(scope, receive)
        if fault is not None:
            await anyio.sleep(fault.delay_seconds)
        return await send_response(send, response, with_body=scope["method"] != "HEAD")

    def _is_read_only(self, scope: Scope) -> bool:
        """Whether the call only reads. Reads wait neither for disk nor for a writer, so a thread would cost more."""
        match = self._model.route(scope["method"], scope["raw_path"].removeprefix(self._prefix))
        return match is not None and match.operation.name in READ_ONLY

    def _respond(self, scope: Scope, body: bytes) -> tuple[HttpResponse, Fault | None]:
        """The response, and the fault that applies to it after the call."""
        request_id = _new_request_id()
        fault: Fault | None = None
        try:
            request = self._parse(scope, body)
            fault = self._faults.draw(request.operation.name)
            response = self._execute(request, fault)
        except IvsError as error:
            response = self._error_response(error)
        except StoreError as failure:
            _log.error("store of the local IVS failed", request_id=request_id, code=failure.code, detail=failure.detail)
            response = self._error_response(IvsError("ServiceUnavailable", "The local IVS cannot reach its store"))
        except Exception as failure:  # noqa: BLE001 - the last resort: logged and rendered here
            _log.error("request to the local IVS failed", request_id=request_id, **exception_fields(failure))
            internal = IvsError("InternalServerException", "Internal failure; see the local IVS's log")
            response = self._error_response(internal)
        return self._with_common_headers(scope, response, request_id), fault

    def _parse(self, scope: Scope, body: bytes) -> _ParsedRequest:
        """Verify and parse a request. Raises IvsError."""
        raw_path, raw_query, method = scope["raw_path"], scope["query_string"], scope["method"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        signed = SignedRequest(method, raw_path, raw_query, headers, body)
        account_region = self._verifier.verify(signed, self._wall_clock.now())
        match = self._model.route(method, raw_path.removeprefix(self._prefix))
        if match is None or not raw_path.startswith(self._prefix):
            raise unknown_operation()
        members = self._model.parse_request(match, raw_query, body)
        return _ParsedRequest(account_region, match.operation, members, base_url(scope, self._public_url))

    def _execute(self, request: _ParsedRequest, fault: Fault | None) -> HttpResponse:
        """Call the local IVS, unless the fault prevents the call."""
        match fault.kind if fault else None:
            case FaultKind.THROTTLE:
                raise IvsError("ThrottlingException", f"Rate exceeded{_INJECTED}")
            case FaultKind.ERROR:
                raise IvsError("InternalServerException", f"Internal failure{_INJECTED}")
            case FaultKind.DROP_BEFORE:
                return _NO_CONTENT
        response = self._local_ivs.call(
            request.account_region, request.operation.name, request.members, request.base_url
        )
        if request.operation.status == 204:
            return _NO_CONTENT
        return _json(request.operation.status, response)

    def _error_response(self, error: IvsError) -> HttpResponse:
        rendered = render_error(error)
        response = _json(status_of(self._model, error.code), rendered.body)
        return response._replace(headers=(*response.headers, *rendered.headers.items()))

    def _with_common_headers(self, scope: Scope, response: HttpResponse, request_id: str) -> HttpResponse:
        browser_headers = self._browser_headers if header(scope, b"origin") else ()
        headers = (*response.headers, *browser_headers, ("x-amzn-requestid", request_id))
        return response._replace(headers=headers)


def _json(status: int, body: object) -> HttpResponse:
    return HttpResponse(status, (("content-type", "application/json"),), orjson.dumps(body))


def _new_request_id() -> str:
    return str(uuid.uuid4())
