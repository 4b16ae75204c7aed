"""The store's protocols for keys: the key pairs, the journal of lifecycle steps, and rotation requests.

Invariants
- Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
- Each step is recorded in the journal before it is executed and after.
- The progress of a rotation request is derived from the states of the keys, so it is not stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.audit.record import AuditEvent
from tokensvc.aws.arn import AccountRegion
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, StepKind


class KeyStore(Protocol):
    """Records of key pairs. Each change raises the `keys` version in the same transaction."""

    def add(
        self, key_id: str, fingerprint: str, public_der: bytes, created_at: datetime, longest_ttl_seconds: int = 0
    ) -> KeyRecord:
        """Record a new key pair without placements.

        `longest_ttl_seconds`, the longest lifetime of tokens that other programs signed with it, applies to every
        placement. Repeating the call changes nothing but that value, which is only ever raised. Raises Conflict if the
        id or the public key belongs to another key.
        """
        ...

    def list(self) -> list[KeyRecord]:
        """All records, oldest first."""
        ...

    def record_import(
        self,
        key_id: str,
        account_region: AccountRegion,
        arn: str,
        at: datetime,
        *,
        fingerprint_differs: bool = False,
        may_have_signed: bool = False,
    ) -> KeyRecord:
        """Record that IVS holds the key pair in that account and region. It is prepared there, or compromised if the
        key is.

        `may_have_signed`: a restored store may have lost this import, so the longest lifetime is raised to the
        deployment's limit, and the drain starts at `at`.

        Repeating the call with the same ARN changes nothing, whatever the key's state is by then. If IVS held the key
        and no longer does, another ARN is an import that succeeded too late: it is recorded as about to be deleted.
        Raises ConcurrentModification for any other second ARN in an account and region, and for an ARN that belongs to
        another key; KeyNotFound.
        """
        ...

    def activate(
        self,
        key_id: str,
        account_region: AccountRegion,
        at: datetime,
        longest_ttl_seconds: int,
        *,
        retiring_since: datetime | None = None,
        temporary: bool = False,
    ) -> KeyRecord:
        """Make this prepared key the active one in that account and region. The key that was active becomes retiring.

        With `retiring_since`, the key may also be retiring, if its drain started at exactly that time, on which the
        decision was based. If `temporary`, it is to be replaced as soon as another key can sign.

        One transaction. The key's longest lifetime becomes the maximum of its previous value, `longest_ttl_seconds` and
        the deployment's limit, which may have been raised since the caller read it. Repeating the call changes nothing
        but that. Raises ConcurrentModification if the key is in any other state or is being deleted; KeyNotFound.
        """
        ...

    def start_deletion(self, placement: KeyPlacement, at: datetime) -> KeyRecord:
        """Record that the pair is about to be deleted, so that it can no longer become active. Idempotent.

        `placement` is the one that the decision was based on. Raises ConcurrentModification if the key has become
        active or retiring since, if its drain started anew (its tokens are then valid for longer than assumed), or if
        it was never imported there; KeyNotFound.
        """
        ...

    def record_deletion(
        self, key_id: str, account_region: AccountRegion, at: datetime, *, others_may_have_signed: bool = False
    ) -> KeyRecord:
        """Record that IVS no longer holds this pair: it is retired, or stays compromised. Idempotent.

        With `others_may_have_signed`, drains and longest lifetimes change as in `record_absence`. Raises
        ConcurrentModification if the key is active there or was never imported there; KeyNotFound.
        """
        ...

    def record_absence(
        self,
        placement: KeyPlacement,
        at: datetime,
        propagation_seconds: float,
        *,
        unable: Collection[str] = frozenset(),
    ) -> KeyRecord:
        """Record that IVS is confirmed not to hold this pair. It is retired, or stays compromised, and never signs
        again.

        One transaction. If the key was active, the best key that IVS holds there takes over, as after a compromise; the
        keys in `unable`, which cannot sign, never do. That IVS lost the active key shows that something happened that
        the store does not know of, so any other key there may have signed meanwhile: the drain of each retiring key
        starts anew, the drain of each prepared key starts, and longest lifetimes are raised as in `activate`.
        Idempotent. Raises ConcurrentModification if another pair is recorded there, or none ever was; KeyNotFound.
        """
        ...

    def compromise(
        self,
        key_id: str,
        at: datetime,
        propagation_seconds: float,
        *,
        include_standby: bool,
        unable: Collection[str] = frozenset(),
        others_may_have_signed: bool = False,
        event: AuditEvent,
    ) -> KeyRecord:
        """Mark this key as compromised everywhere: it never signs again.

        One transaction. Where the key was active, the best key that IVS already holds takes over
        (`lifecycle.successor`), and its longest lifetime is raised as in `activate`. With `include_standby`, every
        other key that has never signed is marked as compromised too, before a successor is chosen. The keys in
        `unable`, which cannot sign, never take over. With `others_may_have_signed` (the store was restored from a
        backup older than the compromise), drains and longest lifetimes change as in `record_absence` in every account
        and region of the key. Idempotent; the event is recorded only if a key was marked. Raises KeyNotFound.
        """
        ...

    def discard(self, key_id: str, *, event: AuditEvent) -> None:
        """Remove a record without placements, and record the event; does nothing if there is none.

        Raises ConcurrentModification if the key is, or was, imported anywhere.
        """
        ...


class JournalEntry(NamedTuple):
    """One step. If `finished_at` is None, the step was started and may or may not have had its effect."""

    id: int
    kind: StepKind
    key_id: str
    region: str
    """"" for generating a key, which concerns no region."""
    reason: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    """`done`, or an error code."""


class Journal(Protocol):
    """The steps of the lifecycle, in order."""

    def start(
        self, kind: StepKind, key_id: str, region: str, reason: str, at: datetime, *, event: AuditEvent
    ) -> JournalEntry:
        """Record a step before it is executed, and the audit event with it. If the same step is open already, returns
        that entry and records nothing."""
        ...

    def finish(self, entry_id: int, outcome: str, at: datetime) -> None:
        """Record the outcome of a step; does nothing if one is recorded already."""
        ...

    def open_entries(self) -> list[JournalEntry]:
        """All entries that are not finished, oldest first."""
        ...

    def history(self, key_id: str | None, limit: int) -> list[JournalEntry]:
        """The newest entries, of one key or of all, newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Delete the entries that finished before that time; returns their number."""
        ...


class RotationRequest(NamedTuple):
    """A request that in each of these regions another key than the active one becomes active."""

    id: str
    requested_at: datetime
    previous_key_ids: Mapping[str, str | None]
    """By region, the key that was active at the time of the request, or None."""
    requested_by: str


class RotationRequestStore(Protocol):
    """All rotation requests."""

    def request(
        self, rotation_id: str, previous_key_ids: Mapping[str, str | None], at: datetime, by: str, *, event: AuditEvent
    ) -> RotationRequest:
        """Store and record a request. Raises the `keys` version in the same transaction, which wakes the rotation
        leader."""
        ...

    def get(self, rotation_id: str) -> RotationRequest:
        """One request. Raises RotationNotFound."""
        ...

    def newest(self, limit: int) -> list[RotationRequest]:
        """The latest requests, newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Delete the requests that were made before that time; returns their number."""
        ...
