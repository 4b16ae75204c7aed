"""`RevocationStore`: accepted revocations and the delivery state of their targets.

Invariants
- Revocations and queue entries are joined by `revocation_targets`: revocations of the same viewer share an entry.
- Every change locks the `revocations` version first. Entries are locked in the order of their ids, since dispatchers
  change them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import FieldError, IdempotencyKeyReused, RevocationNotFound
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.store import (
    AcceptedRevocation,
    IdempotencyKey,
    NewRevocation,
    Patterns,
    Revocation,
    RevocationTarget,
)
from tokensvc.storage import changes, revocation_writer
from tokensvc.storage.audit import record_events
from tokensvc.storage.dialect import StoreNow, chunked, insert, matches_any
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import (
    FINISHED,
    QUEUED,
    UNFINISHED,
    idempotency_keys,
    revocation_entries,
    revocation_targets,
    revocations,
)

IDEMPOTENCY_SECONDS = 24 * 3600
_entries = revocation_entries.c
_targets = revocation_targets.c
_targets_with_entries = sa.join(revocation_targets, revocation_entries, _targets.entry == _entries.id)
_state = sa.case((_targets.cancelled, sa.literal(RevocationState.CANCELLED)), else_=_entries.state)


class SqlRevocationStore:
    """See `tokensvc.revocations.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

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
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            now = connection.execute(sa.select(StoreNow())).scalar_one()
            stored = _stored_response(connection, caller, idempotency, now)
            if stored is not None:
                return stored
            accepted = revocation_writer.write_revocations(
                connection, caller, new_revocations, priority, max_staleness_seconds, now
            )
            if idempotency is not None:
                _store_response(connection, caller, idempotency, accepted, now)
            record_events(connection, events)
            return accepted

    def get(self, revocation_id: str, patterns: Patterns) -> Revocation:
        with read_transaction(self._engine) as connection:
            return _get(connection, revocation_id, patterns)

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
        query = sa.select(revocations).where(*_visible_to(patterns)).order_by(revocations.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(revocations.c.number < before)
        if min_number is not None:
            query = query.where(revocations.c.number >= min_number)
        if conditions := _target_filters(state, channel_arn, viewer_ids):
            query = query.where(_any_target(*conditions))
        with read_transaction(self._engine) as connection:
            return _records(connection, connection.execute(query).all())

    def scan_floor(self, before: int | None, count: int) -> int | None:
        number = revocations.c.number
        query = sa.select(number).order_by(number.desc()).offset(count - 1).limit(2)
        if before is not None:
            query = query.where(number < before)
        with read_transaction(self._engine) as connection:
            found = connection.execute(query).scalars().all()
        return found[0] if len(found) > 1 else None

    def cancel(self, revocation_id: str, patterns: Patterns, *, event: AuditEvent) -> Revocation:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            number = _get(connection, revocation_id, patterns).number
            queued = _lock_entries_of(connection, number, RevocationState.QUEUED)
            own = (_targets.revocation == number, _targets.entry.in_(queued))
            connection.execute(sa.update(revocation_targets).where(*own).values(cancelled=True))
            shared = sa.select(_targets.entry).where(_targets.entry.in_(queued), _targets.cancelled == sa.false())
            unshared = (_entries.id.in_(queued), _entries.id.not_in(shared))
            cancelled = {"state": RevocationState.CANCELLED, "finished_at": StoreNow()}
            connection.execute(sa.update(revocation_entries).where(*unshared, QUEUED).values(cancelled))
            _lower_versions(connection, queued)
            if queued:
                record_events(connection, [event])
            return _get(connection, revocation_id, patterns)

    def retry(self, revocation_id: str, patterns: Patterns, *, event: AuditEvent) -> Revocation:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            number = _get(connection, revocation_id, patterns).number
            failed = _lock_entries_of(connection, number, RevocationState.FAILED)
            for entry in failed:
                _queue_again(connection, entry)
            if failed:
                record_events(connection, [event])
            return _get(connection, revocation_id, patterns)

    def prune(self, finished_before: datetime, limit: int) -> int:
        until = finished_before.timestamp()
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            old = sa.select(_entries.id).where(FINISHED, _entries.finished_at < until).order_by(_entries.finished_at)
            pruned = list(connection.execute(old.limit(limit)).scalars())
            for ids in chunked(pruned):
                affected = sa.select(_targets.revocation).where(_targets.entry.in_(ids)).distinct()
                numbers = list(connection.execute(affected).scalars())
                connection.execute(sa.delete(revocation_targets).where(_targets.entry.in_(ids)))
                connection.execute(sa.delete(revocation_entries).where(_entries.id.in_(ids)))
                has_targets = sa.exists().where(_targets.revocation == revocations.c.number)
                for batch in chunked(numbers):
                    connection.execute(sa.delete(revocations).where(revocations.c.number.in_(batch), ~has_targets))
            expired = idempotency_keys.c.used_at < StoreNow() - sa.literal(float(IDEMPOTENCY_SECONDS), sa.Double)
            connection.execute(sa.delete(idempotency_keys).where(expired))
            return len(pruned)


def _stored_response(
    connection: sa.Connection, caller: str, idempotency: IdempotencyKey | None, now: float
) -> list[AcceptedRevocation] | None:
    """What the first request with this key returned. Raises IdempotencyKeyReused if its body was another one."""
    if idempotency is None:
        return None
    c = idempotency_keys.c
    stored = connection.execute(
        sa.select(c.body_digest, c.response).where(
            c.caller == caller, c.key == idempotency.key, c.used_at >= now - IDEMPOTENCY_SECONDS
        )
    ).first()
    if stored is None:
        return None
    if stored.body_digest != idempotency.body_digest:
        rule = "was already used for a different request in the last 24 hours"
        raise IdempotencyKeyReused([FieldError("Idempotency-Key", rule)])
    return [AcceptedRevocation(*item) for item in stored.response]


def _store_response(
    connection: sa.Connection, caller: str, idempotency: IdempotencyKey, accepted: list[AcceptedRevocation], now: float
) -> None:
    values = {"body_digest": idempotency.body_digest, "response": [list(item) for item in accepted], "used_at": now}
    row = insert(connection, idempotency_keys).values(caller=caller, key=idempotency.key, **values)
    c = idempotency_keys.c
    connection.execute(row.on_conflict_do_update(index_elements=[c.caller, c.key], set_=values))


def _any_target(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether any target of the revocation meets these conditions."""
    targets = sa.select(sa.true()).select_from(_targets_with_entries)
    return targets.where(_targets.revocation == revocations.c.number, *conditions).exists()


def _target_filters(
    state: RevocationState | None, channel_arn: str | None, viewer_ids: Sequence[str] | None
) -> list[sa.ColumnElement[bool]]:
    conditions = []
    if state is not None:
        conditions.append(_state == sa.literal(state.value))
    if channel_arn is not None:
        conditions.append(_entries.channel_arn == channel_arn)
    if viewer_ids is not None:
        conditions.append(_entries.viewer_id.in_(viewer_ids))
    return conditions


def _visible_to(patterns: Patterns) -> list[sa.ColumnElement[bool]]:
    """Conditions: these patterns match every channel of the revocation."""
    if ALL_CHANNELS in patterns:
        return []
    return [~_any_target(~matches_any(_entries.channel_arn, patterns))]


def _get(connection: sa.Connection, revocation_id: str, patterns: Patterns) -> Revocation:
    query = sa.select(revocations).where(revocations.c.id == revocation_id, *_visible_to(patterns))
    found = _records(connection, connection.execute(query).all())
    if not found:
        raise RevocationNotFound("there is no such revocation")
    return found[0]


def _records(connection: sa.Connection, rows: Sequence[Any]) -> list[Revocation]:
    targets: dict[int, list[RevocationTarget]] = {row.number: [] for row in rows}
    for numbers in chunked(targets):
        query = sa.select(_targets.revocation, _state.label("target_state"), revocation_entries)
        query = query.select_from(_targets_with_entries).where(_targets.revocation.in_(numbers))
        for row in connection.execute(query.order_by(_targets.revocation, _entries.id)):
            targets[row.revocation].append(_target(row))
    return [
        Revocation(
            row.id,
            row.number,
            row.caller,
            row.reason,
            datetime.fromtimestamp(row.accepted_at, UTC),
            datetime.fromtimestamp(row.readmit_after, UTC),
            tuple(targets[row.number]),
        )
        for row in rows
    ]


def _target(row: Any) -> RevocationTarget:
    finished_at = None if row.finished_at is None else datetime.fromtimestamp(row.finished_at, UTC)
    state = RevocationState(row.target_state)
    return RevocationTarget(
        row.channel_arn, row.viewer_id, row.version, state, row.attempts, finished_at, row.code, row.message
    )


def _lock_entries_of(connection: sa.Connection, number: int, state: RevocationState) -> list[int]:
    """Lock the entries of the revocation's targets that are not cancelled; return the ids of those in this state."""
    entries = sa.select(_targets.entry).where(_targets.revocation == number, _targets.cancelled == sa.false())
    ids = sorted(connection.execute(entries).scalars())
    return [row["id"] for row in revocation_writer.lock_entries(connection, ids) if row["state"] == state]


def _lower_versions(connection: sa.Connection, entries: Sequence[int]) -> None:
    """Lower the version of queued entries to the highest that a remaining revocation requested."""
    highest = sa.select(sa.func.max(_targets.version)).where(_targets.entry == _entries.id, ~_targets.cancelled)
    update = sa.update(revocation_entries).where(_entries.id.in_(entries), QUEUED)
    connection.execute(update.values(version=highest.scalar_subquery()))


def _queue_again(connection: sa.Connection, failed: int) -> None:
    """Queue an entry that failed. If another entry is queued for its viewer by now, the two are merged: that entry gets
    the higher of both versions, and the failed one's targets."""
    this = _entries.id == failed
    digest, version = connection.execute(sa.select(_entries.digest, _entries.version).where(this)).one()
    queued = sa.select(_entries.id, _entries.version).where(UNFINISHED, _entries.digest == digest)
    other = connection.execute(queued.with_for_update()).first()
    if other is None:
        values = {
            "state": RevocationState.QUEUED,
            "attempts": 0,
            "finished_at": None,
            "queued_at": StoreNow(),
            "due_at": StoreNow(),
        }
        connection.execute(sa.update(revocation_entries).where(this).values(values))
        return
    higher = {"version": max(other.version, version)}
    connection.execute(sa.update(revocation_entries).where(_entries.id == other.id).values(higher))
    connection.execute(sa.update(revocation_targets).where(_targets.entry == failed).values(entry=other.id))
    connection.execute(sa.delete(revocation_entries).where(this))
