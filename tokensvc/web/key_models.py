"""What people are shown of keys, and may ask of them, as models: over HTTP and by the commands alike.

Rules of the file
- No private half, nor anything made of one, is in any of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel

from tokensvc.core.lifecycle import KeyState, StepKind
from tokensvc.web.answers import Instant


class _Shown(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, extra="forbid", use_enum_values=True
    )


class ShownPlace(_Shown):
    """What a key is in one account and region."""

    account: str
    region: str
    state: KeyState
    since: Instant = Field(description="When it came into this state")
    age_seconds: int = Field(description="How long ago that was")
    arn: str = Field(description="The playback key pair in IVS")
    imported_at: Instant
    activated_at: Instant | None
    retiring_at: Instant | None = Field(
        description="When its drain began; of a prepared key, when it was found that it may have signed at a time that "
        "a restored store has forgotten"
    )
    drained_at: Instant | None = Field(description="Of a retiring key: when its last token has ended and its pair goes")
    retired_at: Instant | None = Field(description="Since when IVS holds the pair no more")
    compromised_at: Instant | None
    longest_ttl_seconds: int = Field(description="The longest life that a token of it may have there")
    fingerprint_differs: bool = Field(description="IVS shows another fingerprint than ours: somebody must look")


class ShownKey(_Shown):
    """One of our key pairs. Without places it was made and is not known to be in IVS."""

    id: str
    fingerprint: str
    created_at: Instant
    compromised_at: Instant | None
    damage: str | None = Field(description="Why the store's record of it, or of one of its places, cannot be read")
    places: list[ShownPlace]


class KeyPage(_Shown):
    """Key pairs, oldest first."""

    keys: list[ShownKey]
    next_token: str | None = Field(None, description="Ask again with it for those that follow")


class ShownStep(_Shown):
    """One step of a key's life, as the journal has it."""

    step: StepKind
    region: str | None
    why: str
    begun_at: Instant
    ended_at: Instant | None
    outcome: str | None = Field(description="`done`, or a failure's code; null while nobody knows")


class UnheardWorker(_Shown):
    """A worker that may not have heard of the newest keys."""

    worker_id: str
    host: str
    pid: int
    beat_at: Instant = Field(description="When it was last heard of")
    until: Instant = Field(description="By then it has heard, or signs nothing")


class KeyDetail(ShownKey):
    """A key pair, what was done with it, and who may not know of it."""

    history: list[ShownStep] = Field(description="Newest first")
    not_heard: list[UnheardWorker]
    cannot_open: list[str] = Field(description="Workers that cannot open its private half")


class RotatedRegion(_Shown):
    """How far a rotation is in one region."""

    region: str
    replaces: str | None = Field(description="The key that signed there when it was asked for")
    signs: str | None = Field(description="The key that has taken over; null while none has")


class ShownRotation(_Shown):
    """A rotation that somebody asked for."""

    id: str
    requested_at: Instant
    requested_by: str
    done: bool
    regions: list[RotatedRegion]


class ProspectiveRegion(_Shown):
    """What a compromise brings about in one region where IVS holds the key."""

    region: str
    was_active: bool = Field(description="Whether the key signed there")
    successor: str | None = Field(description="The key that takes over at once")
    seconds_without_key: float = Field(description="How long no token can be signed there")
    tokens_of_seconds: int = Field(description="Tokens of so many seconds die")


class Compromised(_Shown):
    """A compromise: the key signs no more; its pairs are deleted, and deletion is retried until it is done."""

    id: str
    compromised_at: Instant
    regions: list[ProspectiveRegion]
    not_heard: list[UnheardWorker]


class _Asked(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)


class RotateAsk(_Asked):
    """Which regions another key is to sign in."""

    regions: list[Annotated[str, Field(max_length=64)]] | None = Field(
        None, min_length=1, max_length=64, description="Without it, all that keys are held in"
    )


class CompromiseAsk(_Asked):
    """How far the distrust goes."""

    distrust_standby: StrictBool = Field(False, description="Keys that have never signed are compromised too")
