"""What the service answers, as models: the OpenAPI page is made from them, and tests hold every answer against them.

Rules of the file
- The hot path writes these objects by hand; the models here say what they are and never touch a request.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tokensvc.core.ask import Ask

Instant = Annotated[str, Field(description="RFC 3339, UTC, whole seconds", json_schema_extra={"format": "date-time"})]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class TokenAnswer(_Model):
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
    expires_at: Instant = Field(
        description="Playback may be started until then; it goes on beyond. Up to ten seconds earlier than ttlSeconds "
        "asked for where IVS takes ten minutes at most"
    )
    refresh_after: Instant = Field(description="When to ask for the next token")
    viewer_id: str | None = Field(None, description="Who watches, as IVS knows them; needed to revoke")
    viewer_session_version: int | None = Field(
        None, description="Unix seconds of issue; a revocation names the highest"
    )
    requires_origin_header: bool = Field(description="Every player must send an Origin header, also outside browsers")


class BadField(_Model):
    """One bad field of a request."""

    field: str
    message: str


class Problem(_Model):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; act on this one")
    errors: list[BadField] | None = None
    retry_after_seconds: int | None = Field(None, description="As Retry-After, also in an item of a batch")


class RefusedAsk(_Model):
    """An ask of a batch that got no token."""

    problem: Problem


class BatchAsk(_Model):
    """Several asks at once."""

    asks: list[Ask] = Field(min_length=1, max_length=500)


class BatchAnswer(_Model):
    """One result for each ask, in order."""

    results: list[TokenAnswer | RefusedAsk]


class Alive(_Model):
    """The process answers."""

    status: str


class Ready(_Model):
    """This worker can sign."""

    status: str
    warnings: list[str]


class Leader(_Model):
    """A worker that does what only one may do at a time."""

    worker_id: str
    lease_seconds_left: float


class WorkerStatus(_Model):
    """A process that works on the store, as its last heartbeat said."""

    worker_id: str
    host: str
    pid: int
    started_at: Instant
    heard_at: Instant
    silent: bool = Field(description="It has not been heard for six heartbeats: killed, or cut off from the store")
    leads: bool
    lease_seconds: float = Field(description="How long it signs without the store; 0: it never signs")
    keys_version: int
    has_heard: bool = Field(description="Whether it knows the keys as they are now")
    unopened_keys: list[str] = Field(description="Keys that should sign and that it cannot open")
    signer: str | None = Field(description="The library that signs its tokens; null: it signs none")
    why_not_faster: str | None = Field(description="Why no faster signer does; null: there is none")
    trouble: list[str]


class KeyThere(_Model):
    """One of our keys in a region."""

    id: str
    state: str
    arn: str


class Slots(_Model):
    """What fills a region."""

    ours: int
    foreign: int | None = Field(description="Key pairs that others hold there; null: nobody has looked lately")
    most: int


class RegionStatus(_Model):
    """The keys of one region."""

    region: str
    active_key: str | None
    active_seconds: int | None = Field(description="How long it has been signing")
    keys: list[KeyThere]
    slots: Slots
    next: str | None = Field(description="What comes next there, or what it waits for")
    next_at: Instant | None
    looked_at: Instant | None = Field(description="When whoever performs last looked at IVS there")


class WaitingThere(_Model):
    """What waits to be told to IVS in one account and region, and who tells it. Where nothing waits and nobody leads
    there is no entry."""

    account: str
    region: str
    queued: int = Field(description="Viewers of channels whose revocation IVS has yet to be told")
    oldest_seconds: int = Field(description="How long the oldest of them waits")
    leader: Leader | None = Field(description="Who tells IVS of revocations there; null: nobody at the moment")


class StatusAnswer(_Model):
    """How the deployment does."""

    deployment_id: str
    control_plane: str | None
    account: str | None
    keys_version: int
    trouble: list[str] = Field(description="What the background duties have to say, in words")
    leader: Leader | None = Field(description="Who performs rotations")
    workers: list[WorkerStatus]
    not_heard: list[str] = Field(description="Workers that do not know the keys as they are now")
    revocations: list[WaitingThere]
    regions: list[RegionStatus]


class JwkSet(_Model):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, Any]]
