"""The local IVS on the wire: AWS's rest-json protocol, signed with SigV4.

Rules of the file
- Signature first, then the route, then the request: who is not known learns nothing of what is there.
- Signature and route are both taken from the raw path as it was sent, the mount prefix kept for the signature.
- Whatever comes in is answered in protocol, unless a fault that was asked for says otherwise. What is not an IvsError
  is ours: a fixed text, and a log line that holds the kind of failure and where it happened, never its words, for those
  may quote a stream key.
"""

from __future__ import annotations

import traceback
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
from tokensvc.local_ivs.http.lifespan import HttpResponse, base_url, run_lifespan, send_response
from tokensvc.local_ivs.model import ServiceModel, Operation, render_error
from tokensvc.local_ivs.service import READS, LocalIvs
from tokensvc.local_ivs.sigv4 import SignedRequest, SignatureVerifier
from tokensvc.log import structlog

BODY_MAX_BYTES = 1024 * 1024
THREADS = 8
"""Calls that run at once; the store lets one write at a time."""

_log = structlog.get_logger(__name__)


_DROPS = (FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER)
_ASKED_FOR = " (a fault that the local IVS was asked for; DELETE /faults ends it)"
_BODY_ERRORS: Mapping[type, str] = {
    RequestTooLarge: "RequestEntityTooLargeException",
    RequestTimeout: "RequestTimeoutException",
}
"""IVS API reference, "Common Errors"."""
_NOTHING = HttpResponse(204, (), b"")
_PREFLIGHT = HttpResponse(204, PREFLIGHT_HEADERS, b"")
"""INFERRED: preflights are answered on every path, unsigned as browsers send them."""


class _Asked(NamedTuple):
    """A call that was understood."""

    account_region: AccountRegion
    operation: Operation
    request: Mapping[str, Any]
    url: str


class IvsApi:
    """One ASGI application: every operation of the model."""

    def __init__(
        self,
        local: LocalIvs,
        model: ServiceModel,
        verifier: SignatureVerifier,
        wall_clock: Clock,
        faults: Faults,
        *,
        prefix: str = "",
        public_url: str | None = None,
    ) -> None:
        self._local = local
        self._model = model
        self._verifier = verifier
        self._wall_clock = wall_clock
        self._faults = faults
        self._prefix = prefix.rstrip("/").encode()
        self._public_url = public_url
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._headers = response_headers(model)

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
            refusal = self._refusal(IvsError(_BODY_ERRORS[type(problem)], problem.message))
            return await send_response(send, self._finished(scope, refusal, _new_request_id()))
        if self._only_reads(scope):
            answer, fault = self._answer(scope, body)
        else:
            answer, fault = await anyio.to_thread.run_sync(self._answer, scope, body, limiter=self._limiter)
        if fault is not None and fault.kind in _DROPS:
            return await abort_connection(scope, receive)
        if fault is not None:
            await anyio.sleep(fault.delay_seconds)
        return await send_response(send, answer, with_body=scope["method"] != "HEAD")

    def _only_reads(self, scope: Scope) -> bool:
        """Whether it is done in less time than a thread costs: reads wait neither for a disk nor for a writer's."""
        match = self._model.route(scope["method"], scope["raw_path"].removeprefix(self._prefix))
        return match is not None and match.operation.name in READS

    def _answer(self, scope: Scope, body: bytes) -> tuple[HttpResponse, Fault | None]:
        """The answer, and what is to go wrong with it on its way back."""
        request_id = _new_request_id()
        fault: Fault | None = None
        try:
            asked = self._read(scope, body)
            fault = self._faults.draw(asked.operation.name)
            answer = self._perform(asked, fault)
        except IvsError as refusal:
            answer = self._refusal(refusal)
        except StoreError as failure:
            _log.error("local_ivs_store_failed", request_id=request_id, code=failure.code, detail=failure.detail)
            answer = self._refusal(IvsError("ServiceUnavailable", "The local IVS cannot reach its store"))
        except Exception as failure:  # noqa: BLE001 - the last resort: rendered here, told in the log
            where = " < ".join(
                f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(failure.__traceback__))
            )
            _log.error("local_ivs_failed", request_id=request_id, failure=type(failure).__name__, where=where)
            answer = self._refusal(IvsError("InternalServerException", "Internal failure; see the local IVS's log"))
        return self._finished(scope, answer, request_id), fault

    def _read(self, scope: Scope, body: bytes) -> _Asked:
        """Who asks what. Raises IvsError."""
        raw_path, raw_query, method = scope["raw_path"], scope["query_string"], scope["method"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        signed = SignedRequest(method, raw_path, raw_query, headers, body)
        place = self._verifier.verify(signed, self._wall_clock.now())
        match = self._model.route(method, raw_path.removeprefix(self._prefix))
        if match is None or not raw_path.startswith(self._prefix):
            raise unknown_operation()
        request = self._model.gather(match, raw_query, body)
        return _Asked(place, match.operation, request, base_url(scope, self._public_url))

    def _perform(self, asked: _Asked, fault: Fault | None) -> HttpResponse:
        """Call the local IVS, unless the fault comes before that."""
        match fault.kind if fault else None:
            case FaultKind.THROTTLE:
                raise IvsError("ThrottlingException", f"Rate exceeded{_ASKED_FOR}")
            case FaultKind.ERROR:
                raise IvsError("InternalServerException", f"Internal failure{_ASKED_FOR}")
            case FaultKind.DROP_BEFORE:
                return _NOTHING
        answer = self._local.call(asked.account_region, asked.operation.name, asked.request, asked.url)
        if asked.operation.status == 204:
            return _NOTHING
        return _json(asked.operation.status, answer)

    def _refusal(self, refusal: IvsError) -> HttpResponse:
        rendered = render_error(refusal)
        answer = _json(status_of(self._model, refusal.code), rendered.body)
        return answer._replace(headers=(*answer.headers, *rendered.headers.items()))

    def _finished(self, scope: Scope, answer: HttpResponse, request_id: str) -> HttpResponse:
        for_page = self._headers if header(scope, b"origin") else ()
        return answer._replace(headers=(*answer.headers, *for_page, ("x-amzn-requestid", request_id)))


def _json(status: int, body: object) -> HttpResponse:
    return HttpResponse(status, (("content-type", "application/json"),), orjson.dumps(body))


def _new_request_id() -> str:
    return str(uuid.uuid4())
