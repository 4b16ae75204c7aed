"""`/v1/revocations…`: decode -> accept, list, get, cancel or retry -> encode.

Invariants
- The response is 202 only once the revocation is stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope

from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import Caller
from tokensvc.errors import FieldError, InvalidRequest, TokensvcError
from tokensvc.http.body import header
from tokensvc.http.json_response import NO_STORE, json_response
from tokensvc.http.problem_details import Response, problem_details
from tokensvc.json_objects import batch_items
from tokensvc.revocations.requests import BATCH_MAX, RevocationQuery, read_revocation
from tokensvc.revocations.service import RevocationService
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey, Revocation
from tokensvc.revocations.views import AcceptedRevocationView, RevocationView
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.batch_turns import BatchTurns
from tokensvc.web.context import RequestContext
from tokensvc.web.query_parameters import read_model
from tokensvc.web.requesters import requester_of

READ, WRITE = "revocations:read", "revocations:write"
REQUEST_MAX_BYTES = 16 * 1024
BATCH_MAX_BYTES = 1024 * 1024
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


class RevocationRoutes:
    """The six revocation routes. They call the store in threads."""

    def __init__(self, authenticator: RequestAuthenticator, service: RevocationService, turns: BatchTurns) -> None:
        self._authenticator = authenticator
        self._service = service
        self._turns = turns

    async def add(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations`."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, WRITE, REQUEST_MAX_BYTES)
        key = _idempotency_key(scope, body)
        request = read_revocation(body)
        requester = requester_of(caller, context)
        accepted = await self._authenticator.run_in_thread(lambda: self._service.add(caller, request, requester, key))
        return json_response(AcceptedRevocationView.of(accepted), 202, "accepted")

    async def add_batch(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations/batch`: up to 1,000, each with its own result or problem, in order."""
        caller = await self._authenticator.caller(scope, context, WRITE)
        with self._turns.batch(caller.name):
            caller, body = await self._authenticator.caller_and_body(scope, receive, context, WRITE, BATCH_MAX_BYTES)
            key = _idempotency_key(scope, body)
            items = batch_items(body, "revocations", BATCH_MAX)
            requester = requester_of(caller, context)
            outcomes = await self._authenticator.run_in_thread(
                lambda: self._service.add_many(caller, items, requester, key)
            )
        results = [_result(outcome) for outcome in outcomes]
        return Response(202, orjson.dumps({"results": results}), NO_STORE, "batch")

    async def list(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/revocations`."""
        caller = await self._authenticator.caller(scope, context, READ)
        query = read_model(scope, RevocationQuery)
        return json_response(await self._authenticator.run_in_thread(lambda: self._service.page(caller, query)))

    async def show(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/revocations/{id}`."""
        return await self._for_one(lambda caller, id_, _: self._service.get(caller, id_), READ, scope, context)

    async def retry(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations/{id}/retry`."""
        return await self._for_one(self._service.retry, WRITE, scope, context)

    async def cancel(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/revocations/{id}/cancel`."""
        return await self._for_one(self._service.cancel, WRITE, scope, context)

    async def _for_one(
        self,
        use_case: Callable[[Caller, str, Requester], Revocation],
        required_scope: str,
        scope: Scope,
        context: RequestContext,
    ) -> Response:
        caller = await self._authenticator.caller(scope, context, required_scope)
        revocation_id = scope["path_params"]["id"]
        requester = requester_of(caller, context)
        revocation = await self._authenticator.run_in_thread(lambda: use_case(caller, revocation_id, requester))
        return json_response(RevocationView.of(revocation))


def _idempotency_key(scope: Scope, body: dict[str, Any]) -> IdempotencyKey | None:
    """The request's Idempotency-Key and a digest of its fields, if it has one. The order of fields does not matter."""
    key = header(scope, b"idempotency-key")
    if not key:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest([FieldError("Idempotency-Key", "must have 1 to 255 printable ASCII characters")])
    content = scope["path"].encode() + b"\n" + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return IdempotencyKey(key, hashlib.sha256(content).digest())


def _result(outcome: AcceptedRevocation | TokensvcError) -> dict[str, Any]:
    if isinstance(outcome, TokensvcError):
        return {"problem": problem_details(outcome)}
    return AcceptedRevocationView.of(outcome).model_dump()
