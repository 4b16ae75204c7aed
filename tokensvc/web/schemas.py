"""The response models that no subject's views define. /openapi.json is generated from them, and tests validate every
response against them.

Invariants
- The hot path builds its responses by hand; these models only describe them and are never used in a request.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tokensvc.json_models import JsonModel, Timestamp
from tokensvc.revocations.views import AcceptedRevocationView
from tokensvc.tokens.request import TokenRequest


class TokenResponse(JsonModel):
    """A playback token and what the client needs to use it."""

    token: str = Field(description="The signed token (JWT, ES384)")
    playback_url: str | None = Field(
        None,
        description="The channel's playback URL with the token, ready to play. Omitted while IVS has not described the "
        "channel yet, unless the request sets requirePlaybackUrl",
    )
    playback_url_retry_after_seconds: int | None = Field(
        None, description="Only without playbackUrl: seconds after which to request a token that has one"
    )
    expires_at: Timestamp = Field(
        description="The latest time at which playback can start; a playback that has started continues. Up to 10 "
        "seconds earlier than ttlSeconds requests where IVS accepts at most ten minutes"
    )
    refresh_after: Timestamp = Field(description="When to request the next token")
    viewer_id: str | None = Field(None, description="The viewer's id in IVS; needed to revoke its sessions")
    viewer_session_version: int | None = Field(
        None, description="Time of issue in Unix seconds; a revocation ends the sessions up to a version"
    )
    requires_origin_header: bool = Field(
        description="Every player must send an Origin header, including players outside browsers"
    )


class InvalidField(JsonModel):
    """An invalid field of a request."""

    field: str
    message: str


class Problem(JsonModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable error code; the one to act on")
    errors: list[InvalidField] | None = None
    retry_after_seconds: int | None = Field(
        None, description="The value of Retry-After; also present in the items of a batch"
    )


class TokenRequestFailure(JsonModel):
    """A request of a batch that failed."""

    problem: Problem


class TokenBatchRequest(JsonModel):
    """A batch of token requests."""

    requests: list[TokenRequest] = Field(min_length=1, max_length=500)


class TokenBatchResponse(JsonModel):
    """One result per request, in the same order."""

    results: list[TokenResponse | TokenRequestFailure]


class RevocationRequestFailure(JsonModel):
    """A revocation of a batch that failed."""

    problem: Problem


class RevocationBatchResponse(JsonModel):
    """One result per revocation, in the same order."""

    results: list[AcceptedRevocationView | RevocationRequestFailure]


class LivenessResponse(JsonModel):
    """The process is alive."""

    status: str


class ReadinessResponse(JsonModel):
    """This worker can sign tokens."""

    status: str
    warnings: list[str]


class JwkSet(JsonModel):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]]
