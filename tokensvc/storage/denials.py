"""`DenialStore`: one row for each viewer of a channel, with the change number of its last write.

Invariants
- Every writer locks the `denials` version first, so rows can be read, changed in memory and written back.
- Each denial has a random id of its own: a denial added after another one was removed or has ended gets a new id, so
  repeating a removal cannot end it.
- A row stays until no worker needs it any more: `expires_at` never decreases, and removing a denial keeps the row.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.errors import DenialNotFound
from tokensvc.revocations.store import Denial, NewDenial, Patterns, RestrictionRow
from tokensvc.storage import changes
from tokensvc.storage.audit import record_events
from tokensvc.storage.dialect import StoreNow, chunked, insert, matches_any
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import denials
from tokensvc.storage.rows import UnreadableValue, integer, octets, raw
from tokensvc.timestamps import rfc3339
from tokensvc.tokens.denylist import DIGEST_BYTES, MAX_SESSION_VERSION, ViewerRestriction

_ID_BYTES = 16
_UNNUMBERED = 0
_MAX_SECOND = (1 << 32) - 1
"""The most that `tokens/denylist.pack` can store, and later than any denial or minimum version."""


class DenialRow(NamedTuple):
    """One row of the table `denials`."""

    digest: bytes
    channel: str
    id: str | None = None
    denied_until: int = 0
    minimum_version: int = 0
    minimum_ahead_seconds: int = 0
    expires_at: int = 0
    caller: str = ""
    reason: str = ""
    created_at: float = 0.0
    number: int = _UNNUMBERED

    def denied(self, until: int, caller: str, reason: str, now: float) -> DenialRow:
        """The row with a denial until then, unless it has one that ends later."""
        if until <= self.denied_until:
            return self
        expires_at = max(self.expires_at, until)
        id_ = self.id if self.denied_until > now else secrets.token_hex(_ID_BYTES)
        return self._replace(
            id=id_, denied_until=until, expires_at=expires_at, caller=caller, reason=reason, created_at=now
        )

    @property
    def restriction(self) -> ViewerRestriction:
        """The part of the row that workers read."""
        return ViewerRestriction(self.denied_until, self.minimum_version, self.minimum_ahead_seconds)

    def with_minimum(self, restriction: ViewerRestriction) -> DenialRow:
        """The row with the minimum version of this restriction."""
        return self._replace(
            minimum_version=restriction.minimum_version,
            minimum_ahead_seconds=restriction.minimum_ahead_seconds,
            expires_at=max(self.expires_at, restriction.expires_at),
        )


_COLUMNS = tuple(denials.c[field] for field in DenialRow._fields)


class SqlDenialStore:
    """See `tokensvc.revocations.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, caller: str, new_denials: Sequence[NewDenial], *, event: AuditEvent) -> list[Denial]:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "denials")
            now = connection.execute(sa.select(StoreNow())).scalar_one()
            before = read_rows(connection, [new.digest for new in new_denials])
            rows = dict(before)
            for new in new_denials:
                row = rows.get(new.digest, DenialRow(new.digest, new.channel))
                rows[new.digest] = row.denied(new.until, caller, new.reason, now)
            changed = [row for name, row in rows.items() if row != before.get(name)]
            write_rows(connection, changed)
            written = read_rows(connection, list(rows))
            record_events(connection, [_event_of(event, written[row.digest]) for row in changed])
            return [_denial(written[new.digest]) for new in new_denials]

    def in_force(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        channel: str | None = None,
        digests: Sequence[bytes] | None = None,
    ) -> list[Denial]:
        query = _in_force().where(matches_any(denials.c.channel, patterns))
        if before is not None:
            query = query.where(sa.tuple_(denials.c.number, denials.c.id) < before)
        if channel is not None:
            query = query.where(denials.c.channel == channel)
        if digests is not None:
            query = query.where(denials.c.digest.in_(digests))
        query = query.order_by(denials.c.number.desc(), denials.c.id.desc()).limit(limit)
        with read_transaction(self._engine) as connection:
            return [_denial(DenialRow(*row)) for row in connection.execute(query)]

    def remove(self, denial_id: str, patterns: Patterns, *, event: AuditEvent) -> None:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "denials")
            query = _in_force().where(denials.c.id == denial_id, matches_any(denials.c.channel, patterns))
            found = connection.execute(query).first()
            if found is None:
                raise DenialNotFound("there is no such denial in force")
            row = DenialRow(*found)
            write_rows(connection, [row._replace(denied_until=0)])
            record_events(connection, [event._replace(details={"channel": row.channel})])

    def changed_since(self, position: Position, limit: int) -> ChangePage[RestrictionRow]:
        newer = denials.c.number > position.number
        # The page includes every row of its last number: the next page starts after that number.
        last = sa.select(denials.c.number).where(newer).order_by(denials.c.number).limit(1).offset(limit - 1)
        until = sa.func.coalesce(last.scalar_subquery(), sa.select(sa.func.max(denials.c.number)).scalar_subquery())
        columns = (denials.c.digest, denials.c.number, *(denials.c[field] for field in ViewerRestriction._fields))
        page = sa.select(*raw(*columns)).where(newer, denials.c.number <= until)
        with read_transaction(self._engine) as connection:
            found = connection.execute(page.order_by(denials.c.number, denials.c.digest)).all()
            numbers = [row.number for row in found if type(row.number) is int]
            after = changes.position_after(connection, "denials", position, max(numbers, default=None))
        rows, damaged = [], {}
        for row in found:
            try:
                rows.append(_restriction_row(row))
            except UnreadableValue as problem:
                name = row.digest.hex() if isinstance(row.digest, bytes) else "without a readable digest"
                damaged[name] = str(problem)
                if _has_digest(row):
                    rows.append(
                        RestrictionRow(row.digest, ViewerRestriction(denied_until=MAX_SESSION_VERSION), after.number)
                    )
        return ChangePage(rows, after, damaged)

    def prune(self, expired_before: datetime, limit: int) -> int:
        expired = denials.c.expires_at < math.floor(expired_before.timestamp())
        batch = sa.select(denials.c.digest).where(expired).limit(limit)
        with write_transaction(self._engine) as connection:
            return connection.execute(sa.delete(denials).where(denials.c.digest.in_(batch), expired)).rowcount


def _event_of(event: AuditEvent, row: DenialRow) -> AuditEvent:
    """The event about this denial."""
    details = {"channel": row.channel, "until": rfc3339(row.denied_until), **event.details}
    return event._replace(target=str(row.id), details=details)


def _restriction_row(row: sa.Row[Any]) -> RestrictionRow:
    """Raises UnreadableValue."""
    restriction = ViewerRestriction(*(integer(row, name, 0, _MAX_SECOND) for name in ViewerRestriction._fields))
    number = integer(row, "number", 0, (1 << 63) - 1)
    return RestrictionRow(octets(row, "digest", DIGEST_BYTES), restriction, number)


def _has_digest(row: sa.Row[Any]) -> bool:
    return isinstance(row.digest, bytes) and len(row.digest) == DIGEST_BYTES


def read_rows(connection: sa.Connection, digests: Sequence[bytes]) -> dict[bytes, DenialRow]:
    """The rows of these digests, where there is one."""
    found: dict[bytes, DenialRow] = {}
    for part in chunked(digests):
        rows = connection.execute(sa.select(*_COLUMNS).where(denials.c.digest.in_(part)))
        found |= {row.digest: DenialRow(*row) for row in rows}
    return found


def write_rows(connection: sa.Connection, rows: Sequence[DenialRow]) -> None:
    """Write these rows, at most one for each digest, under the next change number."""
    if rows:
        number = changes.bump_version(connection, "denials")
        written = insert(connection, denials)
        written = written.on_conflict_do_update(
            index_elements=[denials.c.digest],
            set_={column.name: written.excluded[column.name] for column in _COLUMNS if column is not denials.c.digest},
        )
        connection.execute(written, [row._replace(number=number)._asdict() for row in rows])


def _in_force() -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(denials.c.denied_until > StoreNow())


def _denial(row: DenialRow) -> Denial:
    until, created_at = (datetime.fromtimestamp(at, UTC) for at in (row.denied_until, row.created_at))
    return Denial(str(row.id), row.channel, row.digest, until, row.reason, row.caller, created_at, row.number)
