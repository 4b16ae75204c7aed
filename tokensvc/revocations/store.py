"""The store's protocols for revocations as their callers see them, and for denials and minimum session versions.

Invariants
- Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
- Deliveries to IVS are in the queue (`revocations/queue.py`): one entry for each viewer of a channel, however many
  revocations wait for it.
- A viewer of a channel has one row of restrictions, identified by a digest (`tokens/denylist.py`) that is never shown.
  Revocations write minimum versions and denials into it, `DenialStore.add` writes denials. Each change raises the
  `denials` version in its own transaction and writes that number to the rows.
- What somebody asked for is recorded in the transaction that does it (`audit/record.py`). A call that changes nothing
  records nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.audit.record import AuditEvent
from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.revocations.model import Priority, RevocationState, overall_state
from tokensvc.tokens.denylist import ViewerRestriction

Patterns = Sequence[str]
"""A caller's channel patterns (`callers/policy.py`). A revocation is visible only if they match all of its channels."""


class NewRevocation(NamedTuple):
    """One revocation to accept: these viewers, in each of these channels."""

    id: str
    channel_arns: Sequence[str]
    viewer_ids: Sequence[str]
    issued_before: int | None = None
    """Unix seconds; None for every token issued until now."""
    deny_seconds: int | None = None
    """None: until every worker is in sync, or no denial with `issued_before`. 0: no denial."""
    reason: str = ""

    def __repr__(self) -> str:
        return f"NewRevocation(id={self.id!r})"


class IdempotencyKey(NamedTuple):
    """The key by which a caller makes a request safe to repeat, and a digest of the request's body."""

    key: str
    body_digest: bytes


class AcceptedRevocation(NamedTuple):
    """The result of an accepted revocation; a repeated request gets the same."""

    id: str
    version: int
    """The highest version filter of its targets."""
    readmit_after: int
    """Unix seconds."""


class RevocationTarget(NamedTuple):
    """One viewer of one channel to be revoked at IVS. The repr omits the viewer."""

    channel_arn: str
    viewer_id: str
    version: int
    """The version sent to IVS; higher than this revocation's own when a later one joined it in the queue."""
    state: RevocationState
    attempts: int
    finished_at: datetime | None
    """When IVS accepted it, rejected it permanently, or it was cancelled."""
    code: str
    """IVS's own code of the last failure, or the transport's; "" if there was none."""
    message: str

    def __repr__(self) -> str:
        return f"Target(state={self.state!r}, attempts={self.attempts}, code={self.code!r})"


class Revocation(NamedTuple):
    """One accepted revocation."""

    id: str
    number: int
    """Its position in the order of acceptance."""
    caller: str
    """The name of the caller that requested it."""
    reason: str
    accepted_at: datetime
    readmit_after: datetime
    targets: tuple[RevocationTarget, ...]

    @property
    def state(self) -> RevocationState:
        """The overall state."""
        return overall_state(target.state for target in self.targets)


class RevocationStore(Protocol):
    """Accepted revocations, stored until their history is pruned."""

    def accept(
        self,
        caller: str,
        new_revocations: Sequence[NewRevocation],
        priority: Priority,
        max_staleness_seconds: float,
        idempotency: IdempotencyKey | None = None,
        *,
        events: Sequence[AuditEvent],
    ) -> list[AcceptedRevocation]:
        """Store these revocations durably, in one transaction: the viewers' minimum versions and denials, the queue's
        entries, the result for the idempotency key, and the events.

        An entry that is queued for the same channel and viewer is raised to the higher version instead of duplicated.
        A caller with `queue.INTERACTIVE_MAX` interactive entries queued gets BULK instead. Within 24 hours the same key
        with the same body returns the first result and changes nothing; raises IdempotencyKeyReused if the body
        differs.
        """
        ...

    def get(self, revocation_id: str, patterns: Patterns) -> Revocation:
        """One revocation. Raises RevocationNotFound, also for one that is not visible to these patterns."""
        ...

    def list(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: int | None = None,
        min_number: int | None = None,
        state: RevocationState | None = None,
        channel_arn: str | None = None,
        viewer_ids: Sequence[str] | None = None,
    ) -> list[Revocation]:
        """The newest revocations, at most `limit`, with a number below `before` and at least `min_number`, that have a
        target in this state, of this channel and of one of these viewers, where given. Fewer than `limit` means that
        there are no more in this range."""
        ...

    def scan_floor(self, before: int | None, count: int) -> int | None:
        """The number of the oldest of the `count` newest revocations below `before`, of all callers; None if there are
        at most `count`. It bounds how much of the history one listing reads."""
        ...

    def cancel(self, revocation_id: str, patterns: Patterns, *, event: AuditEvent) -> Revocation:
        """Cancel its queued targets; an entry that another revocation waits for too stays queued for that one. Minimum
        versions and denials stay, and a call in progress may still reach IVS. Raises RevocationNotFound."""
        ...

    def retry(self, revocation_id: str, patterns: Patterns, *, event: AuditEvent) -> Revocation:
        """Queue its failed targets again, joining an entry that is queued already. Raises RevocationNotFound."""
        ...

    def prune(self, finished_before: datetime, limit: int) -> int:
        """Delete at most `limit` entries that finished before then, revocations without entries, and idempotency keys
        older than 24 hours. Returns the number of entries deleted."""
        ...


class NewDenial(NamedTuple):
    """A viewer of a channel, or of all channels (`policy.ALL_CHANNELS`), to deny tokens until that Unix second."""

    channel: str
    digest: bytes
    until: int
    reason: str = ""


class Denial(NamedTuple):
    """A denial in force."""

    id: str
    """The public id: random, so it reveals nothing about the viewer."""
    channel: str
    digest: bytes
    until: datetime
    reason: str
    caller: str
    """The name of the caller that added it, with `add` or with a revocation."""
    created_at: datetime
    number: int
    """The change number of the last write."""


class RestrictionRow(NamedTuple):
    """The restriction of one viewer of a channel, as workers read it."""

    digest: bytes
    restriction: ViewerRestriction
    number: int


class DenialStore(Protocol):
    """One row for each viewer of a channel that is, or recently was, denied or revoked."""

    def add(self, caller: str, denials: Sequence[NewDenial], *, event: AuditEvent) -> list[Denial]:
        """Deny these viewers, in one transaction. A denial in force that ends later stays as it is. Returns the denials
        in the same order.

        The event is recorded once for each denial that was written: its target is the denial's id, its details have
        the channel and the end.
        """
        ...

    def in_force(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        channel: str | None = None,
        digests: Sequence[bytes] | None = None,
    ) -> list[Denial]:
        """Denials in force in these channels, last written first, at most `limit`, following (number, id) `before`;
        with `channel`, only those of this one (or of `*`); with `digests`, only those of these viewers. Fewer than
        `limit` means that there are no more."""
        ...

    def remove(self, denial_id: str, patterns: Patterns, *, event: AuditEvent) -> None:
        """End a denial; a minimum version stays. The event gets the channel as its details. Raises
        DenialNotFound if none is in force, or it is not visible to these patterns."""
        ...

    def changed_since(self, position: Position, limit: int) -> ChangePage[RestrictionRow]:
        """Rows with a higher change number, in its order: all rows of each number, until there are at least `limit`.

        If only the viewer of a row can be read, the viewer is denied for as long as possible. Continue with the page's
        position until `is_last`. Raises StoreReplaced when the position is not part of the store's history; the reader
        then starts again with `Position()`.
        """
        ...

    def prune(self, expired_before: datetime, limit: int) -> int:
        """Delete at most `limit` rows that expired before then, also for workers that have not read the last change.
        Returns the number deleted."""
        ...
