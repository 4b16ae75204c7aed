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

    id: str
    state: RevocationState
    readmit_after: Timestamp = Field(
        description="From then on tokens of any worker are valid again and the denial has ended"
    )

    @classmethod
    def of(cls, accepted: AcceptedRevocation) -> AcceptedRevocationView:
        return cls(id=accepted.id, state=RevocationState.QUEUED, readmit_after=rfc3339(accepted.readmit_after))


class RevocationTargetView(ViewModel):
    """The delivery to IVS for one viewer of one channel."""

    channel_arn: str
    viewer_id: str
    viewer_session_versions_less_than_or_equal_to: int = Field(
        description="The value sent to IVS: sessions up to this version end"
    )
    state: RevocationState
    attempts: int
    finished_at: Timestamp | None = Field(
        description="When IVS accepted or permanently rejected it, or it was cancelled"
    )
    code: str | None = Field(description="IVS's own code of the last failure, or the transport's")
    message: str | None

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

    id: str
    state: RevocationState = Field(
        description="`queued` while any target is queued, else `failed` if any target failed"
    )
    caller: str = Field(description="The caller that requested it")
    reason: str
    accepted_at: Timestamp
    readmit_after: Timestamp
    targets: list[RevocationTargetView]

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

    revocations: list[RevocationView]
    next_token: str | None = Field(
        None,
        description="Pass it as nextToken to get the next page; a page may be short or empty without being the last",
    )


class DenialView(ViewModel):
    """A denial in force."""

    id: str
    channel_arn: str = Field(description="The channel, or * for all")
    until: Timestamp
    reason: str
    caller: str = Field(description="The caller that added it, by itself or with a revocation")
    created_at: Timestamp

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

    denials: list[DenialView]


class DenialPage(ViewModel):
    """Denials in force, last written first."""

    denials: list[DenialView]
    next_token: str | None = Field(None, description="Pass it as nextToken to get the next page")
