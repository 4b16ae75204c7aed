"""What the service answers, as models, as far as no subject's views have it: the OpenAPI page is made from them, and
tests hold every answer against them.

Rules of the file
- The hot path writes these objects by hand; the models here say what they are and never touch a request.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tokensvc.json_models import JsonModel, Timestamp
from tokensvc.revocations.views import AcceptedRevocationView
from tokensvc.tokens.request import TokenRequest


class TokenResponse(JsonModel):
    """A playback token and what its receiver must know about it."""

    token: str = Field(description="The signed token (JWT, ES384)")
    playback_url: str | None = Field(
        None,
        description="Ready to be played: the channel's playback URL with the token. Left out while IVS has not "
        "described the channel yet, unless the request has requirePlaybackUrl",
    )
    playback_url_retry_after_seconds: int | None = Field(
        None, description="Only without playbackUrl: after how many seconds to ask again for a token that has one"
    )
    expires_at: Timestamp = Field(
        description="Playback may be started until then; it goes on beyond. Up to ten seconds earlier than ttlSeconds "
        "asked for where IVS takes ten minutes at most"
    )
    refresh_after: Timestamp = Field(description="When to ask for the next token")
    viewer_id: str | None = Field(None, description="Who watches, as IVS knows them; needed to revoke")
    viewer_session_version: int | None = Field(
        None, description="Unix seconds of issue; a revocation names the highest"
    )
    requires_origin_header: bool = Field(description="Every player must send an Origin header, also outside browsers")


class InvalidField(JsonModel):
    """One bad field of a request."""

    field: str
    message: str


class Problem(JsonModel):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; act on this one")
    errors: list[InvalidField] | None = None
    retry_after_seconds: int | None = Field(None, description="As Retry-After, also in an item of a batch")


class TokenRequestFailure(JsonModel):
    """An ask of a batch that got no token."""

    problem: Problem


class TokenBatchRequest(JsonModel):
    """Several asks at once."""

    requests: list[TokenRequest] = Field(min_length=1, max_length=500)


class TokenBatchResponse(JsonModel):
    """One result for each ask, in order."""

    results: list[TokenResponse | TokenRequestFailure]


class RevocationRequestFailure(JsonModel):
    """A revocation of a batch that was not accepted."""

    problem: Problem


class RevocationBatchResponse(JsonModel):
    """One result for each, in order."""

    results: list[AcceptedRevocationView | RevocationRequestFailure]


class LivenessResponse(JsonModel):
    """The process answers."""

    status: str


class ReadinessResponse(JsonModel):
    """This worker can sign."""

    status: str
    warnings: list[str]


class JwkSet(JsonModel):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, Any]]
