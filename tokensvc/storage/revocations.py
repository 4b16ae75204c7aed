"""`Revocations`: who asked for what, and how far each part of it has come.

Rules of the file
- A revocation and what it waits for are two tables with a third between: revocations of the same viewer share an entry.
- Every change holds `revocations` first; entries are locked in the order of their ids, for dispatchers change them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import FieldError, IdempotencyKeyReused, RevocationNotFound
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.store import Accepted, IdempotencyKey, NewRevocation, Patterns, Revocation, Target
from tokensvc.storage import changes, revocation_writer
from tokensvc.storage.denials import chunked
from tokensvc.storage.dialect import StoreNow, insert, matches_any
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import (
    FINISHED,
    UNFINISHED,
    QUEUED,
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
    ) -> list[Accepted]:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            now = connection.execute(sa.select(StoreNow())).scalar_one()
            first = _stored_response(connection, caller, idempotency, now)
            if first is not None:
                return first
            answer = revocation_writer.write_revocations(
                connection, caller, new_revocations, priority, max_staleness_seconds, now
            )
            if idempotency is not None:
                _store_response(connection, caller, idempotency, answer, now)
            return answer

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
        shown = sa.select(revocations).where(*_visible_to(patterns)).order_by(revocations.c.number.desc()).limit(limit)
        if before is not None:
            shown = shown.where(revocations.c.number < before)
        if min_number is not None:
            shown = shown.where(revocations.c.number >= min_number)
        if such := _target_filters(state, channel_arn, viewer_ids):
            shown = shown.where(_any_target(*such))
        with read_transaction(self._engine) as connection:
            return _records(connection, connection.execute(shown).all())

    def scan_floor(self, before: int | None, count: int) -> int | None:
        number = revocations.c.number
        last = sa.select(number).order_by(number.desc()).offset(count - 1).limit(2)
        if before is not None:
            last = last.where(number < before)
        with read_transaction(self._engine) as connection:
            found = connection.execute(last).scalars().all()
        return found[0] if len(found) > 1 else None

    def cancel(self, revocation_id: str, patterns: Patterns) -> Revocation:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            number = _get(connection, revocation_id, patterns).number
            given_up = _lock_entries_of(connection, number, RevocationState.QUEUED)
            mine = (_targets.revocation == number, _targets.entry.in_(given_up))
            connection.execute(sa.update(revocation_targets).where(*mine).values(cancelled=True))
            still = sa.select(_targets.entry).where(_targets.entry.in_(given_up), _targets.cancelled == sa.false())
            nobodys = (_entries.id.in_(given_up), _entries.id.not_in(still))
            ended = {"state": RevocationState.CANCELLED, "finished_at": StoreNow()}
            connection.execute(sa.update(revocation_entries).where(*nobodys, QUEUED).values(ended))
            _lower_versions(connection, given_up)
            return _get(connection, revocation_id, patterns)

    def retry(self, revocation_id: str, patterns: Patterns) -> Revocation:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            number = _get(connection, revocation_id, patterns).number
            for failed in _lock_entries_of(connection, number, RevocationState.FAILED):
                _queue_again(connection, failed)
            return _get(connection, revocation_id, patterns)

    def prune(self, finished_before: datetime, limit: int) -> int:
        until = finished_before.timestamp()
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "revocations")
            old = sa.select(_entries.id).where(FINISHED, _entries.finished_at < until).order_by(_entries.finished_at)
            forgotten = list(connection.execute(old.limit(limit)).scalars())
            for some in chunked(forgotten):
                whose = sa.select(_targets.revocation).where(_targets.entry.in_(some)).distinct()
                numbers = list(connection.execute(whose).scalars())
                connection.execute(sa.delete(revocation_targets).where(_targets.entry.in_(some)))
                connection.execute(sa.delete(revocation_entries).where(_entries.id.in_(some)))
                left = sa.exists().where(_targets.revocation == revocations.c.number)
                for those in chunked(numbers):
                    connection.execute(sa.delete(revocations).where(revocations.c.number.in_(those), ~left))
            day = idempotency_keys.c.used_at < StoreNow() - sa.literal(float(IDEMPOTENCY_SECONDS), sa.Double)
            connection.execute(sa.delete(idempotency_keys).where(day))
            return len(forgotten)


def _stored_response(
    connection: sa.Connection, caller: str, idempotency: IdempotencyKey | None, now: float
) -> list[Accepted] | None:
    if idempotency is None:
        return None
    c = idempotency_keys.c
    kept = connection.execute(
        sa.select(c.body_digest, c.response).where(
            c.caller == caller, c.key == idempotency.key, c.used_at >= now - IDEMPOTENCY_SECONDS
        )
    ).first()
    if kept is None:
        return None
    if kept.body_digest != idempotency.body_digest:
        rule = "stands for another request of the last 24 hours"
        raise IdempotencyKeyReused([FieldError("Idempotency-Key", rule)])
    return [Accepted(*answer) for answer in kept.response]


def _store_response(
    connection: sa.Connection, caller: str, idempotency: IdempotencyKey, answer: list[Accepted], now: float
) -> None:
    kept = {"body_digest": idempotency.body_digest, "response": [list(part) for part in answer], "used_at": now}
    row = insert(connection, idempotency_keys).values(caller=caller, key=idempotency.key, **kept)
    c = idempotency_keys.c
    connection.execute(row.on_conflict_do_update(index_elements=[c.caller, c.key], set_=kept))


def _any_target(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether any part of the revocation is so."""
    parts_of_it = sa.select(sa.true()).select_from(_targets_with_entries).where(_targets.revocation == revocations.c.number)
    return parts_of_it.where(*conditions).exists()


def _target_filters(
    state: RevocationState | None, channel_arn: str | None, viewer_ids: Sequence[str] | None
) -> list[sa.ColumnElement[bool]]:
    such = []
    if state is not None:
        such.append(_state == sa.literal(state.value))
    if channel_arn is not None:
        such.append(_entries.channel_arn == channel_arn)
    if viewer_ids is not None:
        such.append(_entries.viewer_id.in_(viewer_ids))
    return such


def _visible_to(patterns: Patterns) -> list[sa.ColumnElement[bool]]:
    """Whether these patterns match every channel of a revocation."""
    if ALL_CHANNELS in patterns:
        return []
    return [~_any_target(~matches_any(_entries.channel_arn, patterns))]


def _get(connection: sa.Connection, revocation_id: str, patterns: Patterns) -> Revocation:
    meant = sa.select(revocations).where(revocations.c.id == revocation_id, *_visible_to(patterns))
    found = _records(connection, connection.execute(meant).all())
    if not found:
        raise RevocationNotFound("there is no such revocation")
    return found[0]


def _records(connection: sa.Connection, rows: Sequence[Any]) -> list[Revocation]:
    targets: dict[int, list[Target]] = {row.number: [] for row in rows}
    for some in chunked(targets):
        of_them = sa.select(_targets.revocation, _state.label("shown"), revocation_entries).select_from(_targets_with_entries)
        of_them = of_them.where(_targets.revocation.in_(some)).order_by(_targets.revocation, _entries.id)
        for row in connection.execute(of_them):
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


def _target(row: Any) -> Target:
    finished_at = None if row.finished_at is None else datetime.fromtimestamp(row.finished_at, UTC)
    state = RevocationState(row.shown)
    return Target(row.channel_arn, row.viewer_id, row.version, state, row.attempts, finished_at, row.code, row.message)


def _lock_entries_of(connection: sa.Connection, number: int, state: RevocationState) -> list[int]:
    """The entries in this state that the revocation waits, or waited, for; locked."""
    mine = sa.select(_targets.entry).where(_targets.revocation == number, _targets.cancelled == sa.false())
    ids = sorted(connection.execute(mine).scalars())
    return [row["id"] for row in revocation_writer.lock_entries(connection, ids) if row["state"] == state]


def _lower_versions(connection: sa.Connection, entries: Sequence[int]) -> None:
    """Let queued entries end what the revocations that still wait for them asked for, and nothing that was given up."""
    wanted = sa.select(sa.func.max(_targets.version)).where(_targets.entry == _entries.id, ~_targets.cancelled)
    lowered = sa.update(revocation_entries).where(_entries.id.in_(entries), QUEUED)
    connection.execute(lowered.values(version=wanted.scalar_subquery()))


def _queue_again(connection: sa.Connection, failed: int) -> None:
    """Queue an entry that failed. Where another is queued for its viewer by now, that one is raised to the higher of
    their versions, and whoever waited for the one waits for the other."""
    this = _entries.id == failed
    name, version = connection.execute(sa.select(_entries.digest, _entries.version).where(this)).one()
    queued = sa.select(_entries.id, _entries.version).where(UNFINISHED, _entries.digest == name)
    other = connection.execute(queued.with_for_update()).first()
    if other is None:
        again = {
            "state": RevocationState.QUEUED,
            "attempts": 0,
            "finished_at": None,
            "queued_at": StoreNow(),
            "due_at": StoreNow(),
        }
        connection.execute(sa.update(revocation_entries).where(this).values(again))
        return
    higher = {"version": max(other.version, version)}
    connection.execute(sa.update(revocation_entries).where(_entries.id == other.id).values(higher))
    connection.execute(sa.update(revocation_targets).where(_targets.entry == failed).values(entry=other.id))
    connection.execute(sa.delete(revocation_entries).where(this))
