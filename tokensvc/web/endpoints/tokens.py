"""`POST /v1/tokens` and `POST /v1/tokens/batch`: decode -> admit -> issue -> encode.

Rules of the file
- One class, no Request, no Response, no middleware: this is the outer half of the hot path.
- The only thing ever awaited is the body, and, once for a channel that nobody asked for before, the directory.
- A batch signs in slices, one slice of one batch in each turn of the loop, so that a single token asked for meanwhile
  is behind one slice at most. All of a slice is drafted, then signed, then answered: `issue.py` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import orjson
from starlette.types import Receive, Scope

from tokensvc.aws.arn import parse_arn
from tokensvc.callers.policy import Caller
from tokensvc.errors import ChannelNotFound, PlaybackUrlUnavailable, TokensvcError
from tokensvc.http.body import decode_json
from tokensvc.http.json_response import NO_STORE
from tokensvc.http.problem_details import Response, problem_details
from tokensvc.json_objects import batch_item, batch_items
from tokensvc.metrics import Metrics
from tokensvc.timestamps import rfc3339
from tokensvc.tokens.authorization import TokenLimits, authorize
from tokensvc.tokens.channel_cache import ChannelCache
from tokensvc.tokens.issuer import UnsignedToken, prepare
from tokensvc.tokens.request import TokenRequest, parse_token_request
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.web.authentication import Authenticated, RequestAuthenticator
from tokensvc.web.context import RequestContext, SignMany

REQUEST_MAX_BYTES = 16 * 1024
BATCH_MAX_BYTES = 1024 * 1024
BATCH_MAX_REQUESTS = 500
SLICE_SIZE = 24
SCOPE = "tokens:issue"
_Drafted = tuple[UnsignedToken, KnownChannel | None]
_Judge = Callable[[], Authenticated]


class TokenRoutes:
    """The two routes, and what they read."""

    def __init__(
        self,
        authenticator: RequestAuthenticator,
        channel_cache: ChannelCache,
        metrics: Metrics,
        sign_many: SignMany,
        new_uuid: Callable[[], object],
    ) -> None:
        self._authenticator = authenticator
        self._directory = channel_cache
        self._metrics = metrics
        self._sign_many = sign_many
        self._new_uuid = new_uuid
        self._lane = asyncio.Lock()

    def single_nowait(self, scope: Scope, body: bytes, context: RequestContext) -> _PendingToken | None:
        """`POST /v1/tokens` whose body is here: one token. None when its channel has to be asked for first."""
        try:
            caller, snapshot, now = self._authenticator.authenticate(scope, context, SCOPE)
            request = parse_token_request(decode_json(scope, body, REQUEST_MAX_BYTES))
            grant = authorize(caller, request, snapshot)
            channel = snapshot.channels.get(request.channel_arn)
            if channel is None or channel.playback_url is None:
                return None
            return self._begin(request, grant, channel, snapshot, now)
        except TokensvcError as failure:
            self._metrics.token_request_failed(failure.code)
            raise

    async def single(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens` whose body, or channel, has to be waited for."""
        try:
            (caller, snapshot, _), body = await self._authenticator.authenticated_body(
                scope, receive, context, SCOPE, REQUEST_MAX_BYTES
            )
            request = parse_token_request(body)
            authorize(caller, request, snapshot)
            channels = await self._channels({request.channel_arn}, snapshot, caller)
            # All three as they are after the wait.
            caller, snapshot, now = self._authenticator.authenticate(scope, context, SCOPE)
            grant = authorize(caller, request, snapshot)
            pending = self._begin(request, grant, _channel_of(request, channels), snapshot, now)
            started = perf_counter()
            signature = pending.key.sign(pending.digest)
            return pending.complete(signature, perf_counter() - started)
        except TokensvcError as failure:
            self._metrics.token_request_failed(failure.code)
            raise

    async def batch(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens/batch`: up to 500 tokens, each with its answer or its own problem, in order."""
        try:
            (caller, snapshot, _), body = await self._authenticator.authenticated_body(
                scope, receive, context, SCOPE, BATCH_MAX_BYTES
            )
            asks = batch_items(body, "requests", BATCH_MAX_REQUESTS)
        except TokensvcError as failure:
            self._metrics.token_request_failed(failure.code)
            raise
        judge = partial(self._authenticator.authenticate, scope, context, SCOPE)
        results: list[dict[str, Any]] = [{}] * len(asks)
        waiting: dict[int, TokenRequest] = {}

        def read_and_draft(position: int, caller: Caller, snapshot: Snapshot, now: int) -> _Drafted | None:
            request = parse_token_request(batch_item(asks, position, "requests"))
            grant = authorize(caller, request, snapshot)
            channel = snapshot.channels.get(request.channel_arn)
            if channel is None or channel.playback_url is None:
                waiting[position] = request
                return None
            return prepare(request, grant, snapshot, now, self._new_uuid), channel

        await self._in_slices(range(len(asks)), judge, read_and_draft, results)
        channels = await self._channels({request.channel_arn for request in waiting.values()}, snapshot, caller)

        def draft_waiting(position: int, caller: Caller, snapshot: Snapshot, now: int) -> _Drafted:
            request = waiting[position]
            grant = authorize(caller, request, snapshot)
            channel = _channel_of(request, channels)
            return prepare(request, grant, snapshot, now, self._new_uuid), channel

        await self._in_slices(list(waiting), judge, draft_waiting, results)
        return Response(200, orjson.dumps({"results": results}), NO_STORE, "batch")

    async def _in_slices(
        self,
        positions: Sequence[int],
        judge: _Judge,
        drafted: Callable[[int, Caller, Snapshot, int], _Drafted | None],
        results: list[dict[str, Any]],
    ) -> None:
        """Prepare and sign each ask's token, giving way to everyone else after each slice; a refusal is that ask's
        result. Each slice goes by what the worker knows by then, of the caller too."""
        for start in range(0, len(positions), SLICE_SIZE):
            async with self._lane:
                started, drafts = perf_counter(), dict[int, _Drafted]()
                judged = _outcome(judge)
                slice_ = positions[start : start + SLICE_SIZE]
                for position in slice_:
                    try:
                        if isinstance(judged, TokensvcError):
                            raise judged
                        caller, snapshot, now = judged
                        if (one := drafted(position, caller, snapshot, int(now))) is not None:
                            drafts[position] = one
                    except TokensvcError as failure:
                        self._metrics.token_request_failed(failure.code)
                        results[position] = {"problem": problem_details(failure)}
                signatures = self._sign_many([(made.key, made.digest) for made, _ in drafts.values()])
                for (position, (made, channel)), signature in zip(drafts.items(), signatures, strict=True):
                    results[position] = _answer(made, channel, made.with_signature(signature))
                share = (perf_counter() - started) / len(slice_)
                self._metrics.tokens_issued([share] * len(drafts))
                await asyncio.sleep(0)

    def _begin(
        self, request: TokenRequest, grant: TokenLimits, channel: KnownChannel | None, snapshot: Snapshot, now: float
    ) -> _PendingToken:
        started = perf_counter()
        made = prepare(request, grant, snapshot, int(now), self._new_uuid)
        return _PendingToken(made, channel, self._metrics, perf_counter() - started)

    async def _channels(self, arns: set[str], snapshot: Snapshot, caller: Caller) -> dict[str, KnownChannel | None]:
        known: dict[str, KnownChannel | None] = {}
        for arn in arns:
            channel = snapshot.channels.get(arn)
            if channel is not None and self._directory.is_current(channel):
                known[arn] = channel
        return known | await self._find(arns - known.keys(), snapshot, caller)

    async def _find(self, arns: set[str], snapshot: Snapshot, caller: Caller) -> dict[str, KnownChannel | None]:
        """Ask the directory about unknown channels, of places that we hold a key in, and wait as long as it allows."""
        questions = {
            arn: self._directory.ask(arn, caller.name)
            for arn in arns
            if parse_arn(arn, "channel").account_region in snapshot.keyring.region_keys
        }
        waits = {asyncio.wrap_future(q): seconds for q, seconds in questions.values() if not q.done() and seconds > 0}
        if waits:
            await asyncio.wait(waits, timeout=max(waits.values()))
        return {arn: question.result() for arn, (question, _) in questions.items() if question.done()}


def _outcome(judge: _Judge) -> Authenticated | TokensvcError:
    try:
        return judge()
    except TokensvcError as failure:
        return failure


def _channel_of(request: TokenRequest, channels: Mapping[str, KnownChannel | None]) -> KnownChannel | None:
    """The channel that a token is wanted for; None while IVS has not described it. Raises ChannelNotFound when there is
    none, and PlaybackUrlUnavailable when the request may not be answered without its URL."""
    channel = channels.get(request.channel_arn)
    if channel is None and request.require_playback_url:
        raise PlaybackUrlUnavailable("IVS has not described the channel yet; ask again")
    if channel is not None and channel.playback_url is None:
        raise ChannelNotFound("IVS knows no such channel; a channel made just now is found within a minute")
    return channel


class _PendingToken:
    """A single token that lacks only its signature (`context.PendingResponse`)."""

    __slots__ = ("_channel", "_draft", "_metrics", "_seconds", "digest", "key")

    def __init__(self, made: UnsignedToken, channel: KnownChannel | None, metrics: Metrics, seconds: float) -> None:
        self._draft = made
        self.key = made.key
        self.digest = made.digest
        self._channel = channel
        self._metrics = metrics
        self._seconds = seconds
        """How long it took so far."""

    def complete(self, signature: bytes, seconds: float) -> Response:
        self._metrics.tokens_issued((self._seconds + seconds,))
        response = _answer(self._draft, self._channel, self._draft.with_signature(signature))
        return Response(201, orjson.dumps(response), NO_STORE, "issued")


def _answer(made: UnsignedToken, channel: KnownChannel | None, token: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "token": token,
        "expiresAt": rfc3339(made.exp),
        "refreshAfter": rfc3339(made.refresh_after),
        "requiresOriginHeader": made.requires_origin_header,
    }
    if channel is not None:
        response["playbackUrl"] = f"{channel.playback_url}?token={token}"
    else:
        response["playbackUrlRetryAfterSeconds"] = PlaybackUrlUnavailable.retry_after_seconds
    if made.viewer_id is not None:
        response["viewerId"] = made.viewer_id
        response["viewerSessionVersion"] = made.viewer_session_version
    return response
