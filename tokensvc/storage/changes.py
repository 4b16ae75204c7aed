"""The versions that tell workers what has changed, and their recent history.

Invariants
- A transaction that changes a part of the store locks the part's row in `versions` with its first statement. Changes to
  one part are therefore serialized, and version numbers become visible in order (sequence values would not).
- Lock order: `deployment` before `keys`, `revocations` before `denials`, and `audit` after all others.
- A transaction that changes nothing does not raise the number: a higher number makes every worker read the part.
- Each change draws a new random tag and stores it in `version_history`, in the same transaction. The table is a ring
  buffer: version n + HISTORY_LENGTH overwrites version n, so the table never grows and is never pruned. A version that
  was overwritten counts as unknown; its reader then reads everything again, which is always correct.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Literal, get_args

import sqlalchemy as sa

from tokensvc.deployment.versions import NEVER_READ, Position, Version, Versioned
from tokensvc.errors import SchemaMismatch, StoreReplaced
from tokensvc.storage.dialect import insert
from tokensvc.storage.errors import UPGRADE
from tokensvc.storage.schema import version_history, versions

VersionName = Literal["deployment", "keys", "callers", "channels", "revocations", "denials", "audit"]

HISTORY_LENGTH = 16_384
"""How many changes a reader may be behind and still continue from its position."""
_WITH_HISTORY = frozenset(get_args(Versioned))


def lock_version(connection: sa.Connection, part: VersionName) -> int:
    """Lock the version of this part until the transaction ends, and return its number.

    Waits for other transactions that hold the lock.
    """
    found = connection.execute(sa.select(versions.c.number).where(versions.c.name == part).with_for_update()).scalar()
    return _require_row(part, found)


def bump_version(connection: sa.Connection, part: VersionName, by: int = 1) -> int:
    """Raise the number by `by`, draw a new tag, and return the number. Call it in the transaction of the change."""
    tag = secrets.token_hex(8)
    update = sa.update(versions).where(versions.c.name == part).values(number=versions.c.number + by, tag=tag)
    number = _require_row(part, connection.execute(update.returning(versions.c.number)).scalar())
    if part in _WITH_HISTORY:
        row = insert(connection, version_history).values(name=part, slot=_slot(number), number=number, tag=tag)
        row = row.on_conflict_do_update(
            index_elements=[version_history.c.name, version_history.c.slot], set_={"number": number, "tag": tag}
        )
        connection.execute(row)
    return number


def check_history(connection: sa.Connection, seen: Mapping[Versioned, Version]) -> None:
    """Raise StoreReplaced unless every one of these versions is part of the store's history."""
    read = {part: version for part, version in seen.items() if version != NEVER_READ}
    if not read:
        return
    c = version_history.c
    slots = sa.or_(*(sa.and_(c.name == part, c.slot == _slot(at.number)) for part, at in read.items()))
    rows = connection.execute(sa.select(c.name, c.number, c.tag).where(slots))
    history = {row.name: Version(row.number, row.tag) for row in rows}
    for part, version in read.items():
        stored = history.get(part, NEVER_READ)
        if stored.number > version.number:
            raise StoreReplaced(f"{part} changed more than {HISTORY_LENGTH} times since the last read")
        if stored != version:
            raise StoreReplaced("the store was replaced or restored from a backup")


def current_version(connection: sa.Connection, part: Versioned) -> Version:
    """The version of this part that the transaction sees."""
    row = connection.execute(sa.select(versions.c.number, versions.c.tag).where(versions.c.name == part)).first()
    _require_row(part, row.number if row is not None else None)
    return Version(*row) if row is not None else NEVER_READ


def position_after(connection: sa.Connection, part: Versioned, before: Position, last_number: int | None) -> Position:
    """The position of a reader that started at `before` and has read a page up to `last_number`.

    `last_number` is the number of the page's last row, None for an empty page. The page must be read in the same
    transaction. Raises StoreReplaced when `before` is not part of the store's history: the page would continue the
    history of another store.
    """
    check_history(connection, {part: before.history})
    now = current_version(connection, part)
    return Position(now.number if last_number is None else last_number, now)


def _slot(number: int) -> int:
    return number % HISTORY_LENGTH


def _require_row(part: VersionName, number: int | None) -> int:
    if number is None:
        raise SchemaMismatch(f"the store has no version of {part}", remedy=UPGRADE)
    return number
