"""What people are shown of revocations and denials, and what they ask of the lists, as models.

Rules of the file
- What is asked against a viewer is in `core/revocation_ask.py`; here is the rest. The OpenAPI page is made from both.
- A denial's viewer is shown to nobody, nor anything made of it: its id is random.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tokensvc.core.instant import rfc3339
from tokensvc.core.revocation import State
from tokensvc.core.revocation_ask import Channel, ChannelOrAll, RevocationAsk
from tokensvc.core.viewer import Subject, ViewerId
from tokensvc.errors import FieldError
from tokensvc.ports.denials import Denial
from tokensvc.ports.revocations import Accepted, Revocation, Target
from tokensvc.web.answers import Instant, Problem
from tokensvc.web.paging import PageQuery

BATCH_MAX = 1000
REVOCATIONS_TOKEN = re.compile(r"[0-9]{1,18}")
DENIALS_TOKEN = re.compile(r"([0-9]{1,18})-([0-9a-f]{32})")
_NOT_GIVEN = "must be one that this list gave"


class _Shown(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, extra="forbid", use_enum_values=True
    )


class AcceptedRevocation(_Shown):
    """A revocation that is durable: it reaches IVS whatever happens to this service."""

    id: str
    state: State
    readmit_after: Instant = Field(description="From then on a token of any worker lives, and the denial is over")

    @classmethod
    def of(cls, accepted: Accepted) -> AcceptedRevocation:
        return cls(id=accepted.id, state=State.QUEUED, readmit_after=rfc3339(accepted.readmit_after))


class RefusedRevocation(_Shown):
    """A revocation of a batch that was not accepted."""

    problem: Problem


class RevocationBatchAsk(BaseModel):
    """Several revocations at once."""

    revocations: list[RevocationAsk] = Field(min_length=1, max_length=BATCH_MAX)


class RevocationBatchAnswer(_Shown):
    """One result for each, in order."""

    results: list[AcceptedRevocation | RefusedRevocation]


class ShownTarget(_Shown):
    """One viewer of one channel, on its way to IVS."""

    channel_arn: str
    viewer_id: str
    viewer_session_versions_less_than_or_equal_to: int = Field(
        description="What IVS is, or was, told: sessions up to this version end"
    )
    state: State
    attempts: int
    ended_at: Instant | None = Field(description="When IVS took it or refused it for good, or it was given up")
    code: str | None = Field(description="IVS's own code of the last failure, or the transport's")
    message: str | None

    @classmethod
    def of(cls, target: Target) -> ShownTarget:
        return cls(
            channel_arn=target.channel_arn,
            viewer_id=target.viewer_id,
            viewer_session_versions_less_than_or_equal_to=target.version,
            state=target.state,
            attempts=target.attempts,
            ended_at=None if target.ended_at is None else rfc3339(int(target.ended_at.timestamp())),
            code=target.code or None,
            message=target.message or None,
        )


class ShownRevocation(_Shown):
    """A revocation and how far each part of it has come."""

    id: str
    state: State = Field(description="`queued` while any part is, else `failed` when any part did")
    caller: str = Field(description="Who asked for it")
    reason: str
    accepted_at: Instant
    readmit_after: Instant
    targets: list[ShownTarget]

    @classmethod
    def of(cls, revocation: Revocation) -> ShownRevocation:
        return cls(
            id=revocation.id,
            state=revocation.state,
            caller=revocation.caller,
            reason=revocation.reason,
            accepted_at=rfc3339(int(revocation.accepted_at.timestamp())),
            readmit_after=rfc3339(int(revocation.readmit_after.timestamp())),
            targets=[ShownTarget.of(target) for target in revocation.targets],
        )


class RevocationPage(_Shown):
    """Revocations, newest first."""

    revocations: list[ShownRevocation]
    next_token: str | None = Field(
        None, description="Ask again with it for those that follow; a page may hold few or none, and not be the last"
    )


class ShownDenial(_Shown):
    """A denial in force."""

    id: str
    channel_arn: str = Field(description="The channel, or * for all")
    until: Instant
    reason: str
    caller: str = Field(description="Who wrote it, by itself or with a revocation")
    created_at: Instant

    @classmethod
    def of(cls, denial: Denial) -> ShownDenial:
        return cls(
            id=denial.id,
            channel_arn=denial.channel,
            until=rfc3339(int(denial.until.timestamp())),
            reason=denial.reason,
            caller=denial.caller,
            created_at=rfc3339(int(denial.created_at.timestamp())),
        )


class DenialsWritten(_Shown):
    """One denial for each channel and each viewer id; one that was in force and ends later stays as it is."""

    denials: list[ShownDenial]


class DenialPage(_Shown):
    """Denials in force, last written first."""

    denials: list[ShownDenial]
    next_token: str | None = Field(None, description="Ask again with it for those that follow")


def _revocations_token(token: str) -> str:
    if not REVOCATIONS_TOKEN.fullmatch(token):
        raise ValueError(_NOT_GIVEN)
    return token


def _denials_token(token: str) -> str:
    if not DENIALS_TOKEN.fullmatch(token):
        raise ValueError(_NOT_GIVEN)
    return token


class Query(PageQuery):
    """What both lists take."""

    viewer_id: ViewerId | None = Field(None, description="Of this viewer. Not with subject")
    subject: Subject | None = Field(None, description="Of this viewer, in your own words. Not with viewerId")

    @classmethod
    def together(cls, given: Mapping[str, object]) -> list[FieldError]:
        """Of a viewer id and a subject there is one at most."""
        if given.get("viewerId") is not None and given.get("subject") is not None:
            return [FieldError("subject", "must be left out", excluded_by="viewerId")]
        return []


class RevocationQuery(Query):
    """Which revocations are wanted: those of which any part is so."""

    state: State | None = Field(None, description="In this state")
    channel_arn: Channel | None = Field(None, description="Of this channel")
    next_token: Annotated[str, Field(max_length=100), AfterValidator(_revocations_token)] | None = Field(
        None, description="Of the page before"
    )


class DenialQuery(Query):
    """Which denials are wanted."""

    channel_arn: ChannelOrAll | None = Field(
        None, description="Of this channel, or * for those of all channels; needed to ask for a viewer"
    )
    next_token: Annotated[str, Field(max_length=100), AfterValidator(_denials_token)] | None = Field(
        None, description="Of the page before"
    )

    @classmethod
    def together(cls, given: Mapping[str, object]) -> list[FieldError]:
        """As for both lists; and a viewer is known by its channel and itself together."""
        errors = super().together(given)
        names_viewer = given.get("viewerId") is not None or given.get("subject") is not None
        if names_viewer and given.get("channelArn") is None:
            errors.append(FieldError("channelArn", "is required to ask for a viewer"))
        return errors
