"""One batch of token requests, from its admission to the results.

Invariants
- It is judged and signed in slices, one slice of one batch in each iteration of the event loop, so that a single token
  waits for one slice at most. The callers' batches take turns (`web/batch_turns.py`).
- All tokens of a slice are prepared, then signed, then encoded: `tokens/issuer.py` says why.
- Each slice authenticates the caller again and uses the snapshot of that moment. An error is the result of its request.
  A bearer token that has to be verified again is verified between two turns: that may take as long as its issuer takes.
- A request whose channel the snapshot lacks is signed after the others, once all such channels have been looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from starlette.types import Scope

from tokensvc.callers.policy import Caller
from tokensvc.errors import TokensvcError
from tokensvc.http.problem_details import problem_details
from tokensvc.json_objects import batch_item
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.request import TokenRequest, parse_token_request
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.tokens.token_response import require_channel
from tokensvc.web.admission import ADMITTED, Admission, AdmissionRequest, Decision, narrowed
from tokensvc.web.authentication import BearerNotVerified
from tokensvc.web.context import RequestContext
from tokensvc.web.endpoints.token_parts import (
    SCOPE,
    PreparedToken,
    TokenParts,
    admission_request,
    refused_token,
    token_body,
)

SLICE_SIZE = 24
Channels = Mapping[str, KnownChannel | None]


class TokenBatch:
    """The requests of one batch, and their results so far."""

    def __init__(
        self,
        parts: TokenParts,
        items: Sequence[object],
        caller: Caller,
        snapshot: Snapshot,
        scope: Scope,
        context: RequestContext,
    ) -> None:
        self._parts = parts
        self._items = items
        self._caller = caller
        self._snapshot = snapshot
        self._scope = scope
        self._context = context
        self._authenticate = partial(parts.authenticator.authenticate, scope, context, SCOPE)
        self._verify = partial(parts.authenticator.verified, scope, context, SCOPE)
        self._parsed: dict[int, TokenRequest] = {}
        self._decisions: Sequence[Decision] = ()
        """One for each request, if an admission decides."""
        self._waiting: list[int] = []
        """The requests whose channels have to be looked up."""
        self._results: list[dict[str, Any]] = [{}] * len(items)

    async def run(self) -> list[dict[str, Any]]:
        """The results, in the order of the requests: each a token or a problem."""
        if self._parts.admission is not None:
            self._decisions = await self._admit(self._parts.admission)
        try:
            await self._sign(range(len(self._items)), None)
            if self._waiting:
                arns = {self._parsed[position].channel_arn for position in self._waiting}
                channels = await self._parts.channels.resolve(arns, self._snapshot, self._caller)
                await self._sign(self._waiting, channels)
        except TokensvcError as error:  # such as a credential that has expired: nothing more is issued for it
            for position, result in enumerate(self._results):
                if not result:
                    self._refuse(position, error)
        return self._results

    async def _admit(self, admission: Admission) -> list[Decision]:
        """A decision for each request; for one that is invalid, or that policy does not allow, its error."""
        decisions: list[Decision] = [ADMITTED] * len(self._items)
        allowed: dict[int, AdmissionRequest] = {}
        for start in range(0, len(self._items), SLICE_SIZE):
            async with self._parts.turns.turn(self._caller.name):
                for position in range(start, min(start + SLICE_SIZE, len(self._items))):
                    try:
                        authorized = authorize(self._caller, self._request(position), self._snapshot)
                    except TokensvcError as error:
                        decisions[position] = error
                        continue
                    allowed[position] = admission_request(self._caller, authorized, self._scope, self._context)
                await asyncio.sleep(0)
        if allowed:
            for position, decision in zip(allowed, await admission.admit(list(allowed.values())), strict=True):
                decisions[position] = decision
        return decisions

    async def _sign(self, positions: Sequence[int], channels: Channels | None) -> None:
        """Sign the tokens of these requests. `channels` are those that were looked up; None: only the snapshot's, and
        requests for others are left waiting. Raises TokensvcError if the caller may not have them any more."""
        for start in range(0, len(positions), SLICE_SIZE):
            while not await self._sign_slice(positions[start : start + SLICE_SIZE], channels):
                await self._verify()

    async def _sign_slice(self, positions: Sequence[int], channels: Channels | None) -> bool:
        """Sign these tokens in one turn. False if the bearer token has to be verified first; then nothing is done."""
        name = self._caller.name
        async with self._parts.turns.turn(name):
            started = perf_counter()
            try:
                prepared = self._prepare(positions, channels)
            except BearerNotVerified:
                return False
            signatures = self._parts.sign_many([(one.unsigned.key, one.unsigned.digest) for one in prepared.values()])
            for (position, one), signature in zip(prepared.items(), signatures, strict=True):
                self._results[position] = token_body(one, signature)
                if one.record is not None:
                    self._parts.record_issued(one.record)
            share = (perf_counter() - started) / len(positions)
            self._parts.metrics.tokens_issued([(name, share)] * len(prepared))
            await asyncio.sleep(0)
        return True

    def _prepare(self, positions: Sequence[int], channels: Channels | None) -> dict[int, PreparedToken]:
        """Those of the tokens that get a signature now, by position. Raises BearerNotVerified or TokensvcError."""
        parts, context, prepared = self._parts, self._context, dict[int, PreparedToken]()
        caller, snapshot, now = self._authenticate()
        for position in positions:
            try:
                decision = self._decisions[position] if self._decisions else ADMITTED
                if isinstance(decision, TokensvcError):
                    raise decision
                request, limits = authorized = authorize(caller, self._request(position), snapshot)
                if decision is not ADMITTED:
                    request, limits = narrowed(authorized, decision)
                if channels is not None:
                    channel = require_channel(request, channels.get(request.channel_arn))
                else:
                    channel = snapshot.channels.get(request.channel_arn)
                    if channel is None or channel.playback_url is None:
                        self._waiting.append(position)
                        continue
                prepared[position] = parts.prepare(caller, request, limits, channel, snapshot, now, context)
            except TokensvcError as error:
                self._refuse(position, error)
        return prepared

    def _request(self, position: int) -> TokenRequest:
        """The request at this position, parsed once. Raises InvalidRequest."""
        request = self._parsed.get(position)
        if request is None:
            request = self._parsed[position] = parse_token_request(batch_item(self._items, position, "requests"))
        return request

    def _refuse(self, position: int, error: TokensvcError) -> None:
        self._parts.metrics.token_request_failed(self._caller.name, error.code)
        self._context.refused = refused_token(self._caller, self._parsed.get(position))
        self._parts.record_refusal(error, self._scope, self._context)
        self._results[position] = {"problem": problem_details(error)}
