"""The local IVS on the wire: AWS's rest-json protocol, signed with SigV4.

Rules of the file
- Signature first, then the route, then the request: who is not known learns nothing of what is there.
- Signature and route are both taken from the raw path as it was sent, the mount prefix kept for the signature.
- Whatever comes in is answered in protocol. What is not an IvsError is ours: a fixed text, and a log line that holds
  the kind of failure and where it happened, never its words, for those may quote a stream key.
"""

from __future__ import annotations

import json
import traceback
import uuid

import anyio
import anyio.to_thread
import structlog
from starlette.types import Receive, Scope, Send

from tokensvc.errors import RequestTooLarge, StoreError
from tokensvc.ivs.embedded import LocalIvs
from tokensvc.ivs.model import Model, render_error
from tokensvc.ivs.refusals import IvsError, unknown_operation
from tokensvc.ivs.sigv4 import SignedRequest, Verifier
from tokensvc.ivs.surface import status_of
from tokensvc.ports.clock import Clock
from tokensvc.web.body import ClientGone
from tokensvc.web.local.wire import WireAnswer, base_url, live, read_body, send_answer

BODY_MAX_BYTES = 1024 * 1024
THREADS = 8
"""Calls that run at once; the store lets one write at a time."""

_log = structlog.get_logger(__name__)


class IvsApi:
    """One ASGI application: every operation of the model."""

    def __init__(
        self,
        local: LocalIvs,
        model: Model,
        verifier: Verifier,
        wall_clock: Clock,
        *,
        prefix: str = "",
        public_url: str | None = None,
    ) -> None:
        self._local = local
        self._model = model
        self._verifier = verifier
        self._wall_clock = wall_clock
        self._prefix = prefix.rstrip("/").encode()
        self._public_url = public_url
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await live(receive, send)
        try:
            body = await read_body(receive, BODY_MAX_BYTES)
        except ClientGone:
            return None
        except RequestTooLarge as problem:
            too_large = self._refusal(IvsError("RequestEntityTooLargeException", problem.message))
            return await send_answer(send, _with_request_id(too_large, _new_request_id()))
        answer = await anyio.to_thread.run_sync(self._answer, scope, body, limiter=self._limiter)
        return await send_answer(send, answer, with_body=scope["method"] != "HEAD")

    def _answer(self, scope: Scope, body: bytes) -> WireAnswer:
        request_id = _new_request_id()
        try:
            answer = self._perform(scope, body)
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
        return _with_request_id(answer, request_id)

    def _perform(self, scope: Scope, body: bytes) -> WireAnswer:
        raw_path, raw_query, method = scope["raw_path"], scope["query_string"], scope["method"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        signed = SignedRequest(method, raw_path, raw_query, headers, body)
        place = self._verifier.verify(signed, self._wall_clock.now())
        match = self._model.route(method, raw_path.removeprefix(self._prefix))
        if match is None or not raw_path.startswith(self._prefix):
            raise unknown_operation()
        request = self._model.gather(match, raw_query, body)
        url = base_url(scope, self._public_url)
        answer = self._local.call(place, match.operation.name, request, url)
        if match.operation.status == 204:
            return WireAnswer(204, (), b"")
        return _json(match.operation.status, answer)

    def _refusal(self, refusal: IvsError) -> WireAnswer:
        rendered = render_error(refusal)
        answer = _json(status_of(self._model, refusal.code), rendered.body)
        return answer._replace(headers=(*answer.headers, *rendered.headers.items()))


def _json(status: int, body: object) -> WireAnswer:
    return WireAnswer(status, (("content-type", "application/json"),), json.dumps(body).encode())


def _with_request_id(answer: WireAnswer, request_id: str) -> WireAnswer:
    return answer._replace(headers=(*answer.headers, ("x-amzn-requestid", request_id)))


def _new_request_id() -> str:
    return str(uuid.uuid4())
