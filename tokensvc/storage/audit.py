"""`AuditStore`, and `record_events`, with which the other stores record what they do.

Invariants
- `record_events` is called inside the transaction of the act, as its last statement: both are written, or neither is.
- Numbers come from the version `audit`, whose row every writer locks: a reader that has seen a number has seen all
  lower ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from tokensvc.audit.record import Actor, ActorKind, AuditEvent, AuditRecord, Outcome
from tokensvc.audit.store import AuditFilter
from tokensvc.errors import SchemaMismatch
from tokensvc.storage import changes
from tokensvc.storage.dialect import StoreNow
from tokensvc.storage.engine import call_after_commit, read_transaction, write_transaction
from tokensvc.storage.errors import UPGRADE
from tokensvc.storage.rows import UnreadableValue, document, instant, integer, raw, text
from tokensvc.storage.schema import audit_key, audit_records

UNREADABLE = "audit.unreadable"
"""The action of the record that stands for a row that cannot be read."""


StreamRecords = Callable[[Sequence[AuditRecord]], None]
"""Gets records that were committed. Never raises."""
_STREAM = "audit_stream"


class SqlAuditStore:
    """See `tokensvc.audit.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def append(self, events: Sequence[AuditEvent]) -> None:
        if events:
            with write_transaction(self._engine) as connection:
                record_events(connection, events)

    def list(
        self, matching: AuditFilter, *, limit: int, before: int | None = None, after: int | None = None
    ) -> list[AuditRecord]:
        c = audit_records.c
        query = sa.select(*raw(*c)).where(*_conditions(matching)).limit(limit)
        if after is not None:
            query = query.where(c.number > after).order_by(c.number)
        else:
            query = query.order_by(c.number.desc())
            if before is not None:
                query = query.where(c.number < before)
        with read_transaction(self._engine) as connection:
            return [_record(row) for row in connection.execute(query)]

    def digest_key(self) -> bytes:
        with read_transaction(self._engine) as connection:
            value: bytes | None = connection.execute(sa.select(audit_key.c.value)).scalar()
        if value is None:
            raise SchemaMismatch("the store has no key for viewers' digests", remedy=UPGRADE)
        return value

    def prune(self, before: datetime, limit: int) -> int:
        c = audit_records.c
        with write_transaction(self._engine) as connection:
            old = sa.select(c.number).where(c.at < before).order_by(c.number).limit(limit)
            deleted = connection.execute(sa.delete(audit_records).where(c.number.in_(old.scalar_subquery())))
            return deleted.rowcount


def record_events(connection: sa.Connection, events: Sequence[AuditEvent]) -> None:
    """Record these events in the present transaction, in order."""
    if not events:
        return
    last = changes.bump_version(connection, "audit", len(events))
    at = datetime.fromtimestamp(connection.execute(sa.select(StoreNow())).scalar_one(), UTC)
    _insert(connection, last - len(events) + 1, at, events)
    stream: StreamRecords | None = connection.get_execution_options().get(_STREAM)
    if stream is not None:
        records = [AuditRecord(number, at, event) for number, event in enumerate(events, last - len(events) + 1)]
        call_after_commit(connection, lambda: stream(records))


def stream_records(engine: sa.Engine, stream: StreamRecords) -> None:
    """Hand on what is recorded through this engine, in place of what was set before, after each commit."""
    engine.update_execution_options(**{_STREAM: stream})


def _insert(connection: sa.Connection, first: int, at: datetime, events: Sequence[AuditEvent]) -> None:
    """Insert one row for each event. Without SQLAlchemy's handling of parameters, which costs more than the database
    does: there may be a record for each token."""
    dialect = connection.dialect
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    names = ", ".join(f'"{column.name}"' for column in audit_records.c)
    marks = ", ".join([mark] * len(audit_records.c))
    statement = f"INSERT INTO audit_records ({names}) VALUES ({marks})"  # noqa: S608 - names of our own table
    to_driver = audit_records.c.at.type.dialect_impl(dialect).bind_processor(dialect)
    stored_at = to_driver(at) if to_driver is not None else at
    connection.exec_driver_sql(statement, [_row(number, stored_at, e) for number, e in enumerate(events, first)])


def _row(number: int, at: Any, event: AuditEvent) -> tuple[Any, ...]:
    """The columns in the order of the table."""
    return (
        number,
        at,
        event.actor.kind.value,
        event.actor.name,
        event.actor.key_id,
        event.action,
        event.target,
        event.outcome.value,
        event.code,
        event.rule,
        event.request_id,
        event.viewer,
        event.occurrences,
        _details(*event.details.items()),
    )


@lru_cache(maxsize=1024)
def _details(*details: tuple[str, str]) -> str:
    """As JSON. Cached, because the tokens of one second have the same."""
    return json.dumps(dict(details))


def _record(row: sa.Row[Any]) -> AuditRecord:
    """The record of a row; one that says so if it cannot be read. Raises UnreadableValue for an unreadable number."""
    number = integer(row, "number", 1, (1 << 63) - 1)
    try:
        return AuditRecord(number, instant(row, "at"), _event(row))
    except (UnreadableValue, ValueError) as problem:
        reason = str(problem) if isinstance(problem, UnreadableValue) else "unknown kind of actor or outcome"
        event = AuditEvent(Actor(ActorKind.SYSTEM, "store"), UNREADABLE, details={"reason": reason})
        return AuditRecord(number, _instant_or_epoch(row), event)


def _event(row: sa.Row[Any]) -> AuditEvent:
    """Raises UnreadableValue or ValueError."""
    details = document(row, "details")
    if not isinstance(details, dict):
        raise UnreadableValue("details is not an object")
    return AuditEvent(
        actor=Actor(ActorKind(text(row, "actor_kind")), text(row, "actor"), text(row, "key_id")),
        action=text(row, "action"),
        target=text(row, "target"),
        outcome=Outcome(text(row, "outcome")),
        code=text(row, "code"),
        rule=text(row, "rule"),
        request_id=text(row, "request_id"),
        viewer=text(row, "viewer"),
        occurrences=integer(row, "occurrences", 1, (1 << 31) - 1),
        details={name: str(value) for name, value in details.items()},
    )


def _instant_or_epoch(row: sa.Row[Any]) -> datetime:
    try:
        return instant(row, "at")
    except UnreadableValue:
        return datetime.fromtimestamp(0, UTC)


def _conditions(matching: AuditFilter) -> list[sa.ColumnElement[bool]]:
    c = audit_records.c
    conditions: list[sa.ColumnElement[bool]] = []
    if matching.action:
        prefix = matching.action + "."
        starts = sa.func.substr(c.action, 1, len(prefix)) == prefix
        conditions.append(sa.or_(c.action == matching.action, starts))
    equal = ((c.actor, matching.actor), (c.outcome, matching.outcome), (c.target, matching.target))
    conditions += [column == value for column, value in (*equal, (c.viewer, matching.viewer)) if value]
    if matching.since is not None:
        conditions.append(c.at >= matching.since)
    if matching.until is not None:
        conditions.append(c.at < matching.until)
    return conditions
