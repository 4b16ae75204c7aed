"""Views of revocations and denials, for HTTP and the commands.

Invariants
- A denial's view contains neither the viewer nor anything derived from it: its id is random.
"""

from __future__ import annotations

from pydantic import Field

from tokensvc.json_models import Timestamp, ViewModel
from tokensvc.revocations.model import RevocationState
from tokensvc.revocations.store import AcceptedRevocation, Denial, Revocation, RevocationTarget
from tokensvc.timestamps import rfc3339, rfc3339_of


class AcceptedRevocationView(ViewModel):
    """A durably stored revocation: it will be delivered to IVS even if this service restarts."""

    id: str = Field(description="The revocation's id")
    state: RevocationState = Field(description="Always `queued`: what happens next is in `GET /v1/revocations/{id}`")
    readmit_after: Timestamp = Field(
        description="When the viewer may return: from then on the denial has ended, and new tokens are valid again, "
        "whichever worker issues them"
    )

    @classmethod
    def of(cls, accepted: AcceptedRevocation) -> AcceptedRevocationView:
        return cls(id=accepted.id, state=RevocationState.QUEUED, readmit_after=rfc3339(accepted.readmit_after))


class RevocationTargetView(ViewModel):
    """The delivery to IVS for one viewer of one channel."""

    channel_arn: str = Field(description="The channel")
    viewer_id: str = Field(description="The viewer")
    viewer_session_versions_less_than_or_equal_to: int = Field(
        description="The value sent to IVS: sessions up to this version end"
    )
    state: RevocationState = Field(
        description="`queued`: not accepted by IVS yet; `sent`: IVS accepted it; `failed`: IVS rejected it "
        "permanently; `cancelled`: it was cancelled before it was sent"
    )
    attempts: int = Field(description="How often it was sent to IVS")
    finished_at: Timestamp | None = Field(
        description="When IVS accepted or permanently rejected it, or it was cancelled"
    )
    code: str | None = Field(description="IVS's error code of the last failure, or the transport's")
    message: str | None = Field(description="IVS's message of the last failure")

    @classmethod
    def of(cls, target: RevocationTarget) -> RevocationTargetView:
        return cls(
            channel_arn=target.channel_arn,
            viewer_id=target.viewer_id,
            viewer_session_versions_less_than_or_equal_to=target.version,
            state=target.state,
            attempts=target.attempts,
            finished_at=None if target.finished_at is None else rfc3339_of(target.finished_at),
            code=target.code or None,
            message=target.message or None,
        )


class RevocationView(ViewModel):
    """A revocation and the delivery of each of its targets."""

    id: str = Field(description="The revocation's id")
    state: RevocationState = Field(
        description="The state of all targets together: `queued` while any is queued, else `failed` if any failed"
    )
    caller: str = Field(description="The caller that requested it")
    reason: str = Field(description="The note of the request")
    accepted_at: Timestamp = Field(description="When it was stored")
    readmit_after: Timestamp = Field(description="When the viewer may return, as in the response to the request")
    targets: list[RevocationTargetView] = Field(description="The delivery to IVS, for each viewer id and channel")

    @classmethod
    def of(cls, revocation: Revocation) -> RevocationView:
        return cls(
            id=revocation.id,
            state=revocation.state,
            caller=revocation.caller,
            reason=revocation.reason,
            accepted_at=rfc3339_of(revocation.accepted_at),
            readmit_after=rfc3339_of(revocation.readmit_after),
            targets=[RevocationTargetView.of(target) for target in revocation.targets],
        )


class RevocationPage(ViewModel):
    """Revocations, newest first."""

    revocations: list[RevocationView] = Field(description="The revocations, newest first")
    next_token: str | None = Field(
        None,
        description="Pass it as `nextToken` to get the next page; `null` on the last page. A page may be short or "
        "empty without being the last",
    )


class DenialView(ViewModel):
    """A denial in force."""

    id: str = Field(description="The denial's id: random, not derived from the viewer")
    channel_arn: str = Field(description="The channel, or `*` for all")
    until: Timestamp = Field(description="When the denial ends")
    reason: str = Field(description="The note of the request")
    caller: str = Field(description="The caller that added it, by itself or with a revocation")
    created_at: Timestamp = Field(description="When it was added")

    @classmethod
    def of(cls, denial: Denial) -> DenialView:
        return cls(
            id=denial.id,
            channel_arn=denial.channel,
            until=rfc3339_of(denial.until),
            reason=denial.reason,
            caller=denial.caller,
            created_at=rfc3339_of(denial.created_at),
        )


class CreatedDenialsView(ViewModel):
    """One denial for each channel and viewer id; a denial in force that ends later stays as it is."""

    denials: list[DenialView] = Field(
        description="One denial for each channel and viewer id. Where a denial in force ends later, that one"
    )


class DenialPage(ViewModel):
    """Denials in force, last written first."""

    denials: list[DenialView] = Field(description="The denials, last written first")
    next_token: str | None = Field(
        None, description="Pass it as `nextToken` to get the next page; `null` on the last page"
    )
