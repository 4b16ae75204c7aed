"""What the two token routes share: what they need, and a token between its preparation and its response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.types import Scope

from tokensvc.background.audit_writer import IssuedToken
from tokensvc.callers.policy import Caller
from tokensvc.errors import PlaybackUrlUnavailable
from tokensvc.metrics import Metrics
from tokensvc.tokens.authorization import AuthorizedRequest, TokenLimits
from tokensvc.tokens.issuer import UnsignedToken, prepare
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.tokens.token_response import token_response
from tokensvc.web.admission import Admission, AdmissionRequest
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.batch_turns import BatchTurns
from tokensvc.web.channel_lookups import ChannelLookups
from tokensvc.web.context import RefusedToken, RequestContext, SignMany
from tokensvc.web.refusals import RecordRefusal

SCOPE = "tokens:issue"
TakeLimits = Callable[[Caller, str, str | None, str | None], None]
"""Takes one token of each limit that applies to a caller, channel, viewer id and subject, or raises RateLimited."""


def take_nothing(_caller: Caller, _channel_arn: str, _viewer_id: str | None, _subject: str | None) -> None:
    """No limits."""


@dataclass(slots=True)
class TokenParts:
    """What issuing tokens needs."""

    authenticator: RequestAuthenticator
    channels: ChannelLookups
    metrics: Metrics
    sign_many: SignMany
    new_uuid: Callable[[], object]
    record_issued: Callable[[IssuedToken], None]
    """Queues the audit record of a token."""
    record_refusal: RecordRefusal
    """Queues the audit record of a batch's request that is refused; the application records refused batches."""
    take_limits: TakeLimits
    """This worker's limiter."""
    admission: Admission | None
    """None unless something outside this process decides too."""
    turns: BatchTurns

    def prepare(
        self,
        caller: Caller,
        request: TokenRequest,
        limits: TokenLimits,
        channel: KnownChannel | None,
        snapshot: Snapshot,
        now: float,
        context: RequestContext,
    ) -> PreparedToken:
        """A token that policy allows, for which nothing but its signature is missing: only then does it count against
        the limits. Raises RateLimited, or as `issuer.prepare`."""
        unsigned = prepare(request, limits, snapshot, int(now), self.new_uuid)
        self.take_limits(caller, request.channel_arn, request.viewer_id, request.subject)
        record = issued_token(caller, request, unsigned, context) if caller.policy.audit_tokens else None
        return PreparedToken(unsigned, channel, record)


class PreparedToken(NamedTuple):
    """A token that lacks only its signature."""

    unsigned: UnsignedToken
    channel: KnownChannel | None
    record: IssuedToken | None
    """The audit record to be made of it, if its caller's policy asks for one."""


def token_body(prepared: PreparedToken, signature: bytes) -> dict[str, Any]:
    """The response of a token, as JSON."""
    unsigned, channel, _ = prepared
    response = token_response(unsigned, channel, unsigned.with_signature(signature))
    if channel is None:
        response["playbackUrlRetryAfterSeconds"] = PlaybackUrlUnavailable.retry_after_seconds
    return response


def issued_token(
    caller: Caller, request: TokenRequest, unsigned: UnsignedToken, context: RequestContext
) -> IssuedToken:
    """What to record of a token."""
    viewer = request.viewer_id or request.subject
    return IssuedToken(caller.name, caller.key_id, context.request_id, request.channel_arn, viewer, unsigned.exp)


def refused_token(caller: Caller | None, request: TokenRequest | None) -> RefusedToken | None:
    """What to record of a refused request, as far as it is known."""
    if caller is None or request is None:
        return None
    login = caller.login.subject if caller.login is not None else ""
    return RefusedToken(request.channel_arn, request.viewer_id or request.subject or login)


def admission_request(
    caller: Caller, authorized: AuthorizedRequest, scope: Scope, context: RequestContext
) -> AdmissionRequest:
    """What an admission decides about."""
    client = scope.get("client")
    request, limits = authorized
    address = client[0] if client else ""
    return AdmissionRequest(caller, request, limits.max_ttl_seconds, address, context.request_id)
