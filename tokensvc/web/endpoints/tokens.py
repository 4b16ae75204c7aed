"""`POST /v1/tokens` and `POST /v1/tokens/batch`: authenticate -> decode -> authorize -> prepare ->
sign -> encode.

Invariants
- One class, with no Request, Response or middleware of Starlette's: this is the outer half of the hot path.
- Only two things are awaited: the body and, once for a channel that is not in the snapshot, the channel cache.
- A batch signs in slices, one slice of one batch in each iteration of the event loop, so that a single token waits for
  one slice at most. All tokens of a slice are prepared, then signed, then encoded: `tokens/issuer.py` says why.
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
_Prepared = tuple[UnsignedToken, KnownChannel | None]
_Authenticate = Callable[[], Authenticated]


class TokenRoutes:
    """The two token routes."""

    def __init__(
        self,
        authenticator: RequestAuthenticator,
        channel_cache: ChannelCache,
        metrics: Metrics,
        sign_many: SignMany,
        new_uuid: Callable[[], object],
    ) -> None:
        self._authenticator = authenticator
        self._channel_cache = channel_cache
        self._metrics = metrics
        self._sign_many = sign_many
        self._new_uuid = new_uuid
        self._slice_lock = asyncio.Lock()

    def single_nowait(self, scope: Scope, body: bytes, context: RequestContext) -> _PendingToken | None:
        """`POST /v1/tokens` with a complete body. None when the channel has to be looked up first."""
        try:
            caller, snapshot, now = self._authenticator.authenticate(scope, context, SCOPE)
            request = parse_token_request(decode_json(scope, body, REQUEST_MAX_BYTES))
            limits = authorize(caller, request, snapshot)
            channel = snapshot.channels.get(request.channel_arn)
            if channel is None or channel.playback_url is None:
                return None
            return self._prepare(request, limits, channel, snapshot, now)
        except TokensvcError as error:
            self._metrics.token_request_failed(error.code)
            raise

    async def single(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens` when the body or the channel has to be awaited."""
        try:
            (caller, snapshot, _), body = await self._authenticator.authenticated_body(
                scope, receive, context, SCOPE, REQUEST_MAX_BYTES
            )
            request = parse_token_request(body)
            authorize(caller, request, snapshot)
            channels = await self._resolve_channels({request.channel_arn}, snapshot, caller)
            # The wait may have changed all three.
            caller, snapshot, now = self._authenticator.authenticate(scope, context, SCOPE)
            limits = authorize(caller, request, snapshot)
            pending = self._prepare(request, limits, _channel_of(request, channels), snapshot, now)
            started = perf_counter()
            signature = pending.key.sign(pending.digest)
            return pending.complete(signature, perf_counter() - started)
        except TokensvcError as error:
            self._metrics.token_request_failed(error.code)
            raise

    async def batch(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens/batch`: up to 500 requests, each with its own token or problem, in order."""
        try:
            (caller, snapshot, _), body = await self._authenticator.authenticated_body(
                scope, receive, context, SCOPE, BATCH_MAX_BYTES
            )
            items = batch_items(body, "requests", BATCH_MAX_REQUESTS)
        except TokensvcError as error:
            self._metrics.token_request_failed(error.code)
            raise
        authenticate = partial(self._authenticator.authenticate, scope, context, SCOPE)
        results: list[dict[str, Any]] = [{}] * len(items)
        waiting: dict[int, TokenRequest] = {}

        def parse_and_prepare(position: int, caller: Caller, snapshot: Snapshot, now: int) -> _Prepared | None:
            request = parse_token_request(batch_item(items, position, "requests"))
            limits = authorize(caller, request, snapshot)
            channel = snapshot.channels.get(request.channel_arn)
            if channel is None or channel.playback_url is None:
                waiting[position] = request
                return None
            return prepare(request, limits, snapshot, now, self._new_uuid), channel

        await self._sign_in_slices(range(len(items)), authenticate, parse_and_prepare, results)
        channels = await self._resolve_channels({request.channel_arn for request in waiting.values()}, snapshot, caller)

        def prepare_waiting(position: int, caller: Caller, snapshot: Snapshot, now: int) -> _Prepared:
            request = waiting[position]
            limits = authorize(caller, request, snapshot)
            channel = _channel_of(request, channels)
            return prepare(request, limits, snapshot, now, self._new_uuid), channel

        await self._sign_in_slices(list(waiting), authenticate, prepare_waiting, results)
        return Response(200, orjson.dumps({"results": results}), NO_STORE, "batch")

    async def _sign_in_slices(
        self,
        positions: Sequence[int],
        authenticate: _Authenticate,
        prepare_one: Callable[[int, Caller, Snapshot, int], _Prepared | None],
        results: list[dict[str, Any]],
    ) -> None:
        """Prepare and sign the tokens, yielding to the event loop after each slice; an error becomes the result of its
        request. Each slice authenticates the caller again and uses the snapshot of that moment."""
        for start in range(0, len(positions), SLICE_SIZE):
            async with self._slice_lock:
                started, prepared = perf_counter(), dict[int, _Prepared]()
                authenticated = _result_of(authenticate)
                slice_ = positions[start : start + SLICE_SIZE]
                for position in slice_:
                    try:
                        if isinstance(authenticated, TokensvcError):
                            raise authenticated
                        caller, snapshot, now = authenticated
                        if (one := prepare_one(position, caller, snapshot, int(now))) is not None:
                            prepared[position] = one
                    except TokensvcError as error:
                        self._metrics.token_request_failed(error.code)
                        results[position] = {"problem": problem_details(error)}
                signatures = self._sign_many([(unsigned.key, unsigned.digest) for unsigned, _ in prepared.values()])
                for (position, (unsigned, channel)), signature in zip(prepared.items(), signatures, strict=True):
                    results[position] = _token_response(unsigned, channel, unsigned.with_signature(signature))
                share = (perf_counter() - started) / len(slice_)
                self._metrics.tokens_issued([share] * len(prepared))
                await asyncio.sleep(0)

    def _prepare(
        self, request: TokenRequest, limits: TokenLimits, channel: KnownChannel | None, snapshot: Snapshot, now: float
    ) -> _PendingToken:
        started = perf_counter()
        unsigned = prepare(request, limits, snapshot, int(now), self._new_uuid)
        return _PendingToken(unsigned, channel, self._metrics, perf_counter() - started)

    async def _resolve_channels(
        self, arns: set[str], snapshot: Snapshot, caller: Caller
    ) -> dict[str, KnownChannel | None]:
        known: dict[str, KnownChannel | None] = {}
        for arn in arns:
            channel = snapshot.channels.get(arn)
            if channel is not None and self._channel_cache.is_current(channel):
                known[arn] = channel
        return known | await self._look_up(arns - known.keys(), snapshot, caller)

    async def _look_up(self, arns: set[str], snapshot: Snapshot, caller: Caller) -> dict[str, KnownChannel | None]:
        """Look up channels that the snapshot lacks, where we hold a key in their account and region. Waits as long as
        the channel cache allows; what is not found by then is left out."""
        lookups = {
            arn: self._channel_cache.look_up(arn, caller.name)
            for arn in arns
            if parse_arn(arn, "channel").account_region in snapshot.keyring.region_keys
        }
        waits = {asyncio.wrap_future(q): seconds for q, seconds in lookups.values() if not q.done() and seconds > 0}
        if waits:
            await asyncio.wait(waits, timeout=max(waits.values()))
        return {arn: lookup.result() for arn, (lookup, _) in lookups.items() if lookup.done()}


def _result_of(authenticate: _Authenticate) -> Authenticated | TokensvcError:
    try:
        return authenticate()
    except TokensvcError as error:
        return error


def _channel_of(request: TokenRequest, channels: Mapping[str, KnownChannel | None]) -> KnownChannel | None:
    """The channel of a token request; None while nothing is known of it. Raises ChannelNotFound when IVS has no such
    channel, and PlaybackUrlUnavailable when the request requires the URL of one that is not known yet."""
    channel = channels.get(request.channel_arn)
    if channel is None and request.require_playback_url:
        raise PlaybackUrlUnavailable("the playback URL of this channel is not known yet; retry")
    if channel is not None and channel.playback_url is None:
        raise ChannelNotFound("IVS has no such channel; a channel created just now is found within a minute")
    return channel


class _PendingToken:
    """A single token that lacks only its signature (`context.PendingResponse`)."""

    __slots__ = ("_channel", "_metrics", "_seconds", "_unsigned", "digest", "key")

    def __init__(self, unsigned: UnsignedToken, channel: KnownChannel | None, metrics: Metrics, seconds: float) -> None:
        self._unsigned = unsigned
        self.key = unsigned.key
        self.digest = unsigned.digest
        self._channel = channel
        self._metrics = metrics
        self._seconds = seconds
        """The time that it took to prepare."""

    def complete(self, signature: bytes, seconds: float) -> Response:
        self._metrics.tokens_issued((self._seconds + seconds,))
        response = _token_response(self._unsigned, self._channel, self._unsigned.with_signature(signature))
        return Response(201, orjson.dumps(response), NO_STORE, "issued")


def _token_response(unsigned: UnsignedToken, channel: KnownChannel | None, token: str) -> dict[str, Any]:
    response: dict[str, Any] = {
        "token": token,
        "expiresAt": rfc3339(unsigned.exp),
        "refreshAfter": rfc3339(unsigned.refresh_after),
        "requiresOriginHeader": unsigned.requires_origin_header,
    }
    if channel is not None:
        response["playbackUrl"] = f"{channel.playback_url}?token={token}"
    else:
        response["playbackUrlRetryAfterSeconds"] = PlaybackUrlUnavailable.retry_after_seconds
    if unsigned.viewer_id is not None:
        response["viewerId"] = unsigned.viewer_id
        response["viewerSessionVersion"] = unsigned.viewer_session_version
    return response
