"""`Journal`: one row for each step. A step of one kind, key and region is open at most once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.keys.lifecycle import StepKind
from tokensvc.keys.store import JournalEntry
from tokensvc.storage.audit import record_events
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.schema import key_journal

_is_open = key_journal.c.finished_at.is_(None)
_entries = sa.select(*(key_journal.c[field] for field in JournalEntry._fields))


class SqlJournal:
    """See `tokensvc.keys.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def start(
        self, kind: StepKind, key_id: str, region: str, reason: str, at: datetime, *, event: AuditEvent
    ) -> JournalEntry:
        step = {"kind": kind, "key_id": key_id, "region": region}
        with write_transaction(self._engine) as connection:
            entry = insert(connection, key_journal).values(**step, reason=reason, started_at=at)
            added = connection.execute(entry.on_conflict_do_nothing().returning(key_journal.c.id)).first()
            same = (key_journal.c[name] == value for name, value in step.items())
            found = _entry(connection.execute(_entries.where(*same, _is_open)).one())
            if added is not None:
                record_events(connection, [event])
            return found

    def finish(self, entry_id: int, outcome: str, at: datetime) -> None:
        with write_transaction(self._engine) as connection:
            update = sa.update(key_journal).where(key_journal.c.id == entry_id, _is_open)
            connection.execute(update.values(finished_at=at, outcome=outcome))

    def open_entries(self) -> list[JournalEntry]:
        with read_transaction(self._engine) as connection:
            return [_entry(row) for row in connection.execute(_entries.where(_is_open).order_by(key_journal.c.id))]

    def history(self, key_id: str | None, limit: int) -> list[JournalEntry]:
        newest = _entries.order_by(key_journal.c.id.desc()).limit(limit)
        if key_id is not None:
            newest = newest.where(key_journal.c.key_id == key_id)
        with read_transaction(self._engine) as connection:
            return [_entry(row) for row in connection.execute(newest)]

    def prune(self, before: datetime) -> int:
        old = sa.delete(key_journal).where(key_journal.c.finished_at < before).returning(key_journal.c.id)
        with write_transaction(self._engine) as connection:
            return len(connection.execute(old).all())


def _entry(row: sa.Row[Any]) -> JournalEntry:
    fields = row._asdict()
    return JournalEntry(**fields | {"kind": StepKind(fields["kind"])})
