"""The queue of revocations that IVS has not received yet, as a dispatcher uses it.

An entry is one viewer of one channel up to one version. It is claimed for a limited time on the store's clock: an
expired claim returns to the queue, so entries of a crashed dispatcher are retried. The outcome of a call is recorded
for (id, version): an entry whose version was raised during the call stays queued.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from tokensvc.aws.arn import AccountRegion
from tokensvc.revocations.model import Priority, RevocationState

INTERACTIVE_MAX = 100
"""Entries that one caller may have queued with priority INTERACTIVE in one account and region: ten seconds' worth at
IVS's full rate, so that a caller that floods the queue does not delay others."""


class QueueEntry(NamedTuple):
    """A claimed entry. The repr leaves the viewer out."""

    id: int
    channel_arn: str
    viewer_id: str
    version: int
    attempts: int
    """This one included."""

    def __repr__(self) -> str:
        return f"QueueEntry(id={self.id}, version={self.version}, attempts={self.attempts})"


class DeliveryOutcome(NamedTuple):
    """The result of sending a claimed entry."""

    id: int
    version: int
    """The version that was sent to IVS."""
    state: RevocationState
    """SENT, FAILED, or QUEUED for a retry."""
    code: str = ""
    """IVS's own code of the failure, or the transport's."""
    message: str = ""
    retry_in_seconds: float = 0.0
    """For QUEUED: how long to wait before the retry."""
    priority: Priority | None = None
    """For QUEUED: the new priority, if it changes."""
    channel_arn: str | None = None
    viewer_id: str | None = None
    """The viewer that was sent to IVS; only its entry may be updated, since a restored store assigns ids again."""

    @classmethod
    def of(cls, entry: QueueEntry, state: RevocationState, *rest: Any) -> DeliveryOutcome:
        """The outcome of a claimed entry."""
        return cls(entry.id, entry.version, state, *rest)._replace(
            channel_arn=entry.channel_arn, viewer_id=entry.viewer_id
        )

    def __repr__(self) -> str:
        return f"DeliveryOutcome(id={self.id}, version={self.version}, state={self.state}, code={self.code!r})"


class Backlog(NamedTuple):
    """What is queued for one account and region."""

    queued: int
    oldest_age_seconds: float
    code: str = ""
    """The code of an entry's last failure, where any entry waits for a retry."""


class RevocationQueue(Protocol):
    """Entries, oldest first within an account, region and priority."""

    def claim(self, account_region: AccountRegion, priority: Priority, limit: int, seconds: float) -> list[QueueEntry]:
        """Claim the oldest due, unclaimed entries for that many seconds, counting an attempt for each."""
        ...

    def record_outcomes(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Record the outcomes of claimed entries, by compare-and-set on id, version and, where given, viewer.

        An entry whose version was raised meanwhile is due again immediately, whatever the outcome; one that is no
        longer queued stays as it is.
        """
        ...

    def backlogs(self) -> dict[AccountRegion, Backlog]:
        """The backlog of each account and region that has one, including claimed and deferred entries."""
        ...
