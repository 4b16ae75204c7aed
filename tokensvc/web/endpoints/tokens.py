"""`POST /v1/tokens` and `POST /v1/tokens/batch`: authenticate -> decode -> authorize -> prepare -> sign -> encode.

Invariants
- No Request, Response or middleware of Starlette's: this is the outer half of the hot path.
- Only two things are awaited: the body and, once for a channel that is not in the snapshot, the channel cache. A
  deployment with a shared limiter or a policy hook awaits those too (`web/admission.py`).
- A request takes one token of each limit that applies to it, once, when nothing but its signature is missing.
"""

from __future__ import annotations

from time import perf_counter

import orjson
from starlette.types import Receive, Scope

from tokensvc.callers.policy import Caller
from tokensvc.errors import TokensvcError
from tokensvc.http.body import decode_json
from tokensvc.http.json_response import NO_STORE
from tokensvc.http.problem_details import Response
from tokensvc.json_objects import batch_items
from tokensvc.tokens.authorization import TokenLimits, authorize
from tokensvc.tokens.request import TokenRequest, parse_token_request
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.tokens.token_response import require_channel
from tokensvc.web.admission import ADMITTED, Decision, narrowed
from tokensvc.web.authentication import BearerNotVerified
from tokensvc.web.context import RequestContext
from tokensvc.web.endpoints.token_batch import TokenBatch
from tokensvc.web.endpoints.token_parts import (
    SCOPE,
    PreparedToken,
    TokenParts,
    admission_request,
    refused_token,
    token_body,
)

REQUEST_MAX_BYTES = 16 * 1024
BATCH_MAX_BYTES = 1024 * 1024
BATCH_MAX_REQUESTS = 500


class TokenRoutes:
    """The two token routes."""

    def __init__(self, parts: TokenParts) -> None:
        self._parts = parts

    @property
    def supports_nowait(self) -> bool:
        """Whether `single_nowait` may be used: not if each request has to wait for an admission."""
        return self._parts.admission is None

    def single_nowait(self, scope: Scope, body: bytes, context: RequestContext) -> _PendingToken | None:
        """`POST /v1/tokens` with a complete body. None when the channel has to be looked up first."""
        parts, caller, request = self._parts, None, None
        try:
            caller, snapshot, now = parts.authenticator.authenticate(scope, context, SCOPE)
            request = parse_token_request(decode_json(scope, body, REQUEST_MAX_BYTES))
            request, limits = authorize(caller, request, snapshot)
            channel = snapshot.channels.get(request.channel_arn)
            if channel is None or channel.playback_url is None:
                return None
            return self._pending(caller, request, limits, channel, snapshot, now, context)
        except BearerNotVerified:
            return None
        except TokensvcError as error:
            self._note_refusal(error, caller, request, context)
            raise

    async def single(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens` when the body or the channel has to be awaited."""
        parts, caller, request = self._parts, None, None
        try:
            (caller, snapshot, _), body = await parts.authenticator.authenticated_body(
                scope, receive, context, SCOPE, REQUEST_MAX_BYTES
            )
            request = parse_token_request(body)
            authorized = authorize(caller, request, snapshot)
            decision: Decision = ADMITTED
            if parts.admission is not None:
                requested = admission_request(caller, authorized, scope, context)
                [decision] = await parts.admission.admit([requested])
            channels = await parts.channels.resolve({request.channel_arn}, snapshot, caller)
            # The wait may have changed all three.
            caller, snapshot, now = await parts.authenticator.verified(scope, context, SCOPE)
            request, limits = narrowed(authorize(caller, request, snapshot), decision)
            channel = require_channel(request, channels.get(request.channel_arn))
            pending = self._pending(caller, request, limits, channel, snapshot, now, context)
            started = perf_counter()
            signature = pending.key.sign(pending.digest)
            return pending.complete(signature, perf_counter() - started)
        except TokensvcError as error:
            self._note_refusal(error, caller, request, context)
            raise

    async def batch(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens/batch`: up to 500 requests, each with its own token or problem, in order."""
        parts = self._parts
        try:
            caller, _, _ = await parts.authenticator.verified(scope, context, SCOPE)
            with parts.turns.batch(caller.name, caller.login.subject if caller.login is not None else None):
                (caller, snapshot, _), body = await parts.authenticator.authenticated_body(
                    scope, receive, context, SCOPE, BATCH_MAX_BYTES
                )
                items = batch_items(body, "requests", BATCH_MAX_REQUESTS)
                results = await TokenBatch(parts, items, caller, snapshot, scope, context).run()
        except TokensvcError as error:
            parts.metrics.token_request_failed(context.caller, error.code)
            raise
        return Response(200, orjson.dumps({"results": results}), NO_STORE, "batch")

    def _pending(
        self,
        caller: Caller,
        request: TokenRequest,
        limits: TokenLimits,
        channel: KnownChannel | None,
        snapshot: Snapshot,
        now: float,
        context: RequestContext,
    ) -> _PendingToken:
        """The token, for which nothing but its signature is missing. Raises as `TokenParts.prepare`."""
        parts = self._parts
        started = perf_counter()
        prepared = parts.prepare(caller, request, limits, channel, snapshot, now, context)
        return _PendingToken(parts, prepared, caller.name, perf_counter() - started)

    def _note_refusal(
        self, error: TokensvcError, caller: Caller | None, request: TokenRequest | None, context: RequestContext
    ) -> None:
        context.refused = refused_token(caller, request)
        self._parts.metrics.token_request_failed(context.caller, error.code)


class _PendingToken:
    """A single token that lacks only its signature (`context.PendingResponse`)."""

    __slots__ = ("_caller", "_parts", "_prepared", "_seconds", "digest", "key")

    def __init__(self, parts: TokenParts, prepared: PreparedToken, caller: str, seconds: float) -> None:
        self._parts = parts
        self._prepared = prepared
        self._caller = caller
        self._seconds = seconds
        """The time that it took to prepare."""
        self.key = prepared.unsigned.key
        self.digest = prepared.unsigned.digest

    def complete(self, signature: bytes, seconds: float) -> Response:
        parts, prepared = self._parts, self._prepared
        parts.metrics.tokens_issued(((self._caller, self._seconds + seconds),))
        response = token_body(prepared, signature)
        if prepared.record is not None:
            parts.record_issued(prepared.record)
        return Response(201, orjson.dumps(response), NO_STORE, "issued")
