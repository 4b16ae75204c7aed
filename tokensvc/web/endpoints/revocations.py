"""`/v1/revocations…`: decode -> accept, list, look up, cancel, retry -> encode.

Invariants
- 202 is answered when the store has the revocation, and not before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope

from tokensvc.callers.policy import Caller
from tokensvc.errors import FieldError, InvalidRequest, TokensvcError
from tokensvc.http.body import header
from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import JSON, Response, problem_details
from tokensvc.json_objects import batch_items
from tokensvc.revocations.requests import BATCH_MAX, RevocationQuery, read_revocation
from tokensvc.revocations.service import RevocationService
from tokensvc.revocations.store import Accepted, IdempotencyKey, Revocation
from tokensvc.revocations.views import AcceptedRevocationView, RevocationView
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.query_parameters import read_model

READ, WRITE = "revocations:read", "revocations:write"
REQUEST_MAX_BYTES = 16 * 1024
BATCH_MAX_BYTES = 1024 * 1024
_KEY = re.compile(r"[!-~]{1,255}")


class RevocationRoutes:
    """The six routes. What they ask of the store, they ask in threads of their own."""

    def __init__(self, authenticator: RequestAuthenticator, service: RevocationService) -> None:
        self._authenticator = authenticator
        self._service = service

    async def add(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations`."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, WRITE, REQUEST_MAX_BYTES)
        key = _idempotency_key(scope, body)
        request = read_revocation(body)
        accepted = await self._authenticator.run_in_thread(lambda: self._service.add(caller, request, key))
        return json_response(AcceptedRevocationView.of(accepted), 202, "accepted")

    async def add_batch(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations/batch`: up to 1,000, each with its answer or its own problem, in order."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, WRITE, BATCH_MAX_BYTES)
        key = _idempotency_key(scope, body)
        items = batch_items(body, "revocations", BATCH_MAX)
        found = await self._authenticator.run_in_thread(lambda: self._service.add_many(caller, items, key))
        results = [_result(one) for one in found]
        return Response(202, orjson.dumps({"results": results}), (JSON,), "batch")

    async def list(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/revocations`."""
        caller = self._authenticator.caller(scope, context, READ)
        query = read_model(scope, RevocationQuery)
        return json_response(await self._authenticator.run_in_thread(lambda: self._service.page(caller, query)))

    async def show(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/revocations/{id}`."""
        return await self._one(self._service.get, READ, scope, context)

    async def retry(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations/{id}/retry`."""
        return await self._one(self._service.retry, WRITE, scope, context)

    async def cancel(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations/{id}/cancel`."""
        return await self._one(self._service.cancel, WRITE, scope, context)

    async def _one(
        self, use_case: Callable[[Caller, str], Revocation], needs: str, scope: Scope, context: RequestContext
    ) -> Response:
        caller = self._authenticator.caller(scope, context, needs)
        revocation_id = scope["path_params"]["id"]
        found = await self._authenticator.run_in_thread(lambda: use_case(caller, revocation_id))
        return json_response(RevocationView.of(found))


def _idempotency_key(scope: Scope, body: dict[str, Any]) -> IdempotencyKey | None:
    """What the caller names the request by, if it does. The same fields in another order are the same request."""
    name = header(scope, b"idempotency-key")
    if not name:
        return None
    if not _KEY.fullmatch(name):
        raise InvalidRequest([FieldError("Idempotency-Key", "must have 1 to 255 printable ASCII characters")])
    whole = scope["path"].encode() + b"\n" + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return IdempotencyKey(name, hashlib.sha256(whole).digest())


def _result(one: Accepted | TokensvcError) -> dict[str, Any]:
    if isinstance(one, TokensvcError):
        return {"problem": problem_details(one)}
    return AcceptedRevocationView.of(one).model_dump()
