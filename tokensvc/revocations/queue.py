"""The queue of what IVS has yet to be told, as a dispatcher sees it.

An entry is one viewer of one channel up to one version. It is claimed for a while, on the store's clock: a claim that
lapses returns by itself, so whatever becomes of a dispatcher, its entries are tried again. What a call came to is
settled on (id, version): an entry that was raised while the call was under way stays queued.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from tokensvc.aws.arn import AccountRegion
from tokensvc.revocations.model import Priority, RevocationState

INTERACTIVE_MAX = 100
"""Entries that one caller may have waiting in the priority ALONE of a place: ten seconds' worth at IVS's full rate, so that
who floods it waits behind itself, and others are not kept waiting."""


class QueueEntry(NamedTuple):
    """A claimed entry. The repr leaves the viewer out."""

    id: int
    channel_arn: str
    viewer_id: str
    version: int
    attempts: int
    """This one included."""

    def __repr__(self) -> str:
        return f"Entry(id={self.id}, version={self.version}, attempts={self.attempts})"


class DeliveryOutcome(NamedTuple):
    """What became of a claimed entry."""

    id: int
    version: int
    """The version that IVS was told."""
    state: RevocationState
    """SENT, FAILED, or QUEUED to be tried again."""
    code: str = ""
    """IVS's own code of the failure, or the transport's."""
    message: str = ""
    retry_in_seconds: float = 0.0
    """For QUEUED: how long it rests."""
    priority: Priority | None = None
    """For QUEUED: the priority that it waits in from now on, when not the one it came from."""
    channel_arn: str | None = None
    viewer_id: str | None = None
    """The viewer that was sent to IVS; only its entry may be settled, since a restored store assigns ids again."""

    @classmethod
    def of(cls, entry: QueueEntry, state: RevocationState, *rest: Any) -> DeliveryOutcome:
        """The outcome of a claimed entry."""
        return cls(entry.id, entry.version, state, *rest)._replace(
            channel_arn=entry.channel_arn, viewer_id=entry.viewer_id
        )

    def __repr__(self) -> str:
        return f"Outcome(id={self.id}, version={self.version}, state={self.state}, code={self.code!r})"


class Backlog(NamedTuple):
    """What waits in one place."""

    queued: int
    oldest_seconds: float
    code: str = ""
    """Of what was tried in vain and waits to be tried again: the code of such a failure."""


class RevocationQueue(Protocol):
    """Entries, oldest first within a priority of a place."""

    def claim(self, account_region: AccountRegion, priority: Priority, limit: int, seconds: float) -> list[QueueEntry]:
        """Take the oldest entries that are due and that nobody has, for that long, counting an attempt for each."""
        ...

    def record_outcomes(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Record what became of claimed entries, by compare-and-set on id, version and, where given, viewer.

        One that was raised meanwhile is due again at once, whatever the outcome; one that is no longer queued stays as
        it is.
        """
        ...

    def backlogs(self) -> dict[AccountRegion, Backlog]:
        """What is queued, claimed or resting entries included, in each place that has any."""
        ...
