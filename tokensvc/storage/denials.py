"""`Denials`: one row for each viewer of a channel, with the change number under which it was written.

Rules of the file
- Whoever writes rows holds `denials` first, so rows may be read, decided upon and written back in three steps.
- A denial's id is random and its own: one that is written after another was removed or has ended has another id, so a
  removal that is repeated cannot end it.
- A row is read by every worker for as long as it matters to any: `expires_at` only rises, and a removal keeps the row.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.errors import DenialNotFound
from tokensvc.revocations.denial_store import Denial, NewDenial, RestrictionRow
from tokensvc.revocations.store import Patterns
from tokensvc.storage import changes
from tokensvc.storage.dialect import StoreNow, insert, matches_any
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import denials
from tokensvc.storage.rows import UnreadableValue, integer, octets, raw
from tokensvc.tokens.denylist import DIGEST_BYTES, MAX_SESSION_VERSION, ViewerRestriction

_T = TypeVar("_T")
QUERY_BATCH_SIZE = 500
_ID_BYTES = 16
_UNNUMBERED = 0
_MAX_SECOND = (1 << 32) - 1
"""More than any second that a denial or a minimum version may name, and the most that `tokens/denylist.pack` takes."""


class DenialRow(NamedTuple):
    """One row of the table."""

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
        """With a denial until then, unless there is one that ends later."""
        if until <= self.denied_until:
            return self
        expires_at = max(self.expires_at, until)
        id_ = self.id if self.denied_until > now else secrets.token_hex(_ID_BYTES)
        return self._replace(id=id_, denied_until=until, expires_at=expires_at, caller=caller, reason=reason, created_at=now)

    @property
    def standing(self) -> ViewerRestriction:
        """What workers know of it."""
        return ViewerRestriction(self.denied_until, self.minimum_version, self.minimum_ahead_seconds)

    def raised(self, standing: ViewerRestriction) -> DenialRow:
        """With the minimum version of that standing."""
        expires_at = max(self.expires_at, standing.expires_at)
        minimum, lead = standing.minimum_version, standing.minimum_ahead_seconds
        return self._replace(minimum_version=minimum, minimum_ahead_seconds=lead, expires_at=expires_at)


_COLUMNS = tuple(denials.c[field] for field in DenialRow._fields)


class SqlDenialStore:
    """See `tokensvc.revocations.denial_store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, caller: str, wanted: Sequence[NewDenial]) -> list[Denial]:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "denials")
            now = connection.execute(sa.select(StoreNow())).scalar_one()
            before = read_rows(connection, [new.digest for new in wanted])
            rows = dict(before)
            for new in wanted:
                row = rows.get(new.digest, DenialRow(new.digest, new.channel))
                rows[new.digest] = row.denied(new.until, caller, new.reason, now)
            write_rows(connection, [row for name, row in rows.items() if row != before.get(name)])
            written = read_rows(connection, list(rows))
            return [_denial(written[new.digest]) for new in wanted]

    def in_force(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        channel: str | None = None,
        digests: Sequence[bytes] | None = None,
    ) -> list[Denial]:
        shown = _in_force().where(matches_any(denials.c.channel, patterns))
        if before is not None:
            shown = shown.where(sa.tuple_(denials.c.number, denials.c.id) < before)
        if channel is not None:
            shown = shown.where(denials.c.channel == channel)
        if digests is not None:
            shown = shown.where(denials.c.digest.in_(digests))
        shown = shown.order_by(denials.c.number.desc(), denials.c.id.desc()).limit(limit)
        with read_transaction(self._engine) as connection:
            return [_denial(DenialRow(*row)) for row in connection.execute(shown)]

    def remove(self, denial_id: str, patterns: Patterns) -> None:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "denials")
            meant = _in_force().where(denials.c.id == denial_id, matches_any(denials.c.channel, patterns))
            found = connection.execute(meant).first()
            if found is None:
                raise DenialNotFound("there is no such denial in force")
            write_rows(connection, [DenialRow(*found)._replace(denied_until=0)])

    def changed_since(self, position: Position, limit: int) -> ChangePage[RestrictionRow]:
        newer = denials.c.number > position.number
        # The number that the page ends in is given whole, or the rest of it would never be seen.
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
                rows.append(_standing(row))
            except UnreadableValue as problem:
                name = row.digest.hex() if isinstance(row.digest, bytes) else "without a readable name"
                damaged[name] = str(problem)
                if _has_digest(row):
                    rows.append(RestrictionRow(row.digest, ViewerRestriction(denied_until=MAX_SESSION_VERSION), after.number))
        return ChangePage(rows, after, damaged)

    def prune(self, expired_before: datetime, limit: int) -> int:
        over = denials.c.expires_at < math.floor(expired_before.timestamp())
        some = sa.select(denials.c.digest).where(over).limit(limit)
        with write_transaction(self._engine) as connection:
            return connection.execute(sa.delete(denials).where(denials.c.digest.in_(some), over)).rowcount


def _standing(row: sa.Row[Any]) -> RestrictionRow:
    standing = ViewerRestriction(*(integer(row, name, 0, _MAX_SECOND) for name in ViewerRestriction._fields))
    number = integer(row, "number", 0, (1 << 63) - 1)
    return RestrictionRow(octets(row, "digest", DIGEST_BYTES), standing, number)


def _has_digest(row: sa.Row[Any]) -> bool:
    return isinstance(row.digest, bytes) and len(row.digest) == DIGEST_BYTES


def read_rows(connection: sa.Connection, digests: Sequence[bytes]) -> dict[bytes, DenialRow]:
    """The rows of those of these digests that have one."""
    found: dict[bytes, DenialRow] = {}
    for part in chunked(digests):
        rows = connection.execute(sa.select(*_COLUMNS).where(denials.c.digest.in_(part)))
        found |= {row.digest: DenialRow(*row) for row in rows}
    return found


def write_rows(connection: sa.Connection, rows: Sequence[DenialRow]) -> None:
    """Write these rows, one for each digest, under the next change number."""
    if rows:
        number = changes.bump_version(connection, "denials")
        written = insert(connection, denials)
        written = written.on_conflict_do_update(
            index_elements=[denials.c.digest],
            set_={column.name: written.excluded[column.name] for column in _COLUMNS if column is not denials.c.digest},
        )
        connection.execute(written, [row._replace(number=number)._asdict() for row in rows])


def chunked(values: Iterable[_T]) -> Iterator[list[_T]]:
    """In parts for one query each; SQLite takes 32,766 parameters at most, PostgreSQL 65,535."""
    every = list(values)
    return (every[start : start + QUERY_BATCH_SIZE] for start in range(0, len(every), QUERY_BATCH_SIZE))


def _in_force() -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(denials.c.denied_until > StoreNow())


def _denial(row: DenialRow) -> Denial:
    until, created_at = (datetime.fromtimestamp(at, UTC) for at in (row.denied_until, row.created_at))
    return Denial(str(row.id), row.channel, row.digest, until, row.reason, row.caller, created_at, row.number)
