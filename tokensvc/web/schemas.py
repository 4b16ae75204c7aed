"""The response models that no subject's views define. /openapi.json is generated from them, and tests validate every
response against them.

Invariants
- The hot path builds its responses by hand; these models only describe them and are never used in a request.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokensvc.json_models import JsonModel, Timestamp
from tokensvc.revocations.views import AcceptedRevocationView
from tokensvc.tokens.request import TokenRequest


class TokenResponse(JsonModel):
    """A playback token and what the client needs to use it."""

    token: str = Field(description="The signed token (JWT, ES384)")
    playback_url: str | None = Field(
        None,
        description="The channel's playback URL with the token: pass it to the player. Missing while IVS has not "
        "described the channel yet",
    )
    playback_url_retry_after_seconds: int | None = Field(
        None,
        description="Only without `playbackUrl`: after how many seconds to request a token again, which will usually "
        "have one",
    )
    expires_at: Timestamp = Field(
        description="Until when playback can start; a playback that has started continues. Authoritative, also where "
        "it is earlier than `ttlSeconds` asked for"
    )
    refresh_after: Timestamp = Field(
        description="When to request the next token: after 80 % of this token's lifetime. Until then, this token can "
        "be used for a reload, unless it is for a single use"
    )
    requires_origin_header: bool = Field(
        description="`true` with `strictOriginEnforcement`: every player must send an allowed `Origin` header, "
        "including players outside browsers"
    )
    viewer_id: str | None = Field(
        None, description="The viewer's id in IVS, also where the request had `subject`. Missing without a viewer"
    )
    viewer_session_version: int | None = Field(
        None,
        description="The session version in the token, which revocations refer to: the second of issue in Unix time. "
        "After a revocation without `issuedBefore` it is ahead of the clock and increases by one every five seconds "
        "until the clock has caught up, about 20 minutes later; it never decreases. Missing without a viewer",
    )


class InvalidField(JsonModel):
    """An invalid field of a request."""

    field: str = Field(description="The field's path in the request, such as `ads.playerParams` or `allowedOrigins[2]`")
    message: str = Field(description="The rule that it breaks. Never contains the value")


class Problem(JsonModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="`urn:tokensvc:problem:` and the code")
    title: str = Field(description="The code in words")
    status: int = Field(description="The HTTP status, also of an item of a batch")
    detail: str = Field(description="What happened, for people. Its text may change between releases")
    code: str = Field(
        description="What happened, for programs: the member to act on. Later releases may add codes, so treat an "
        "unknown one by its status"
    )
    errors: list[InvalidField] | None = Field(
        None,
        description="Only with the codes `invalid_request` and `idempotency_key_reused`: every invalid field. Of more "
        "than 50, the first 50 and, as `(others)`, how many more there are",
    )
    retry_after_seconds: int | None = Field(
        None, description="With every 429 and 503: the value of `Retry-After`, also for an item of a batch"
    )


class TokenRequestFailure(JsonModel):
    """A request of a batch that failed."""

    problem: Problem = Field(description="Why there is no token")


class TokenBatchRequest(JsonModel):
    """A batch of token requests."""

    requests: list[TokenRequest] = Field(
        min_length=1, max_length=500, description="The token requests, each with the fields of `POST /v1/tokens`"
    )


class TokenBatchResponse(JsonModel):
    """One result per request, in the same order."""

    results: list[TokenResponse | TokenRequestFailure] = Field(
        description="The result of each request, in the same order: a token, or its `problem`"
    )


class RevocationRequestFailure(JsonModel):
    """A revocation of a batch that failed."""

    problem: Problem = Field(description="Why it was not accepted")


class RevocationBatchResponse(JsonModel):
    """One result per revocation, in the same order."""

    results: list[AcceptedRevocationView | RevocationRequestFailure] = Field(
        description="The result of each revocation, in the same order: accepted, or its `problem`"
    )


class LivenessResponse(JsonModel):
    """The process is alive."""

    status: Literal["alive"] = Field(description="Always `alive`")


class ReadinessResponse(JsonModel):
    """This worker can sign tokens."""

    status: Literal["ready"] = Field(description="Always `ready`; otherwise the response is a problem")
    warnings: list[str] = Field(
        description="Problems that do not keep this worker from signing, most of which concern all workers: a failing "
        "rotation, a store outage shorter than the lease, revocations that are delayed"
    )


class Jwk(JsonModel):
    """A public key on the curve P-384 (RFC 7517 and 7518)."""

    kty: Literal["EC"] = Field(description="The type of the key")
    crv: Literal["P-384"] = Field(description="Its curve")
    use: Literal["sig"] = Field(description="What it is for: signatures")
    alg: Literal["ES384"] = Field(description="The algorithm of the signatures")
    kid: str = Field(description="The key's id in this deployment")
    x: str = Field(description="The x coordinate of its point: base64url, 48 bytes")
    y: str = Field(description="The y coordinate of its point: base64url, 48 bytes")


class JwkSet(JsonModel):
    """A JWK Set (RFC 7517)."""

    keys: list[Jwk] = Field(description="The public keys as JWKs")
