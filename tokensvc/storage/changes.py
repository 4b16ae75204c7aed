"""The versions by which workers learn that something changed, and the recent history of them.

Rules of the file
- A transaction that changes a thing holds the thing's row in `versions` from its first statement, so that changes to
  one thing happen one after the other and numbers become visible in order (sequence values would not).
- Whoever holds two takes `deployment` before `keys`, `revocations` before `denials`.
- Nothing changed, nothing raised: a number that rises makes every worker read.
- Each change draws a new random tag and keeps it in `version_history`, in the same transaction. The table is a ring:
  the row of number n is overwritten by that of n + HISTORY_LENGTH, so that it never grows and is never pruned. A
  version that was overwritten counts as not contained; its reader then reads everything anew, which is always right.
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

VersionName = Literal["deployment", "keys", "callers", "channels", "revocations", "denials"]

HISTORY_LENGTH = 16_384
"""How many changes a reader may fall behind and still read on from where it was."""
_WITH_HISTORY = frozenset(get_args(Versioned))


def lock_version(connection: sa.Connection, thing: VersionName) -> int:
    """Wait until no other transaction is changing this thing, keep others out until ours ends; the number so far."""
    found = connection.execute(sa.select(versions.c.number).where(versions.c.name == thing).with_for_update()).scalar()
    return _require_row(thing, found)


def bump_version(connection: sa.Connection, thing: VersionName, by: int = 1) -> int:
    """Raise the number and renew the tag in the transaction that changes the thing, and return the number."""
    tag = secrets.token_hex(8)
    raised = sa.update(versions).where(versions.c.name == thing).values(number=versions.c.number + by, tag=tag)
    number = _require_row(thing, connection.execute(raised.returning(versions.c.number)).scalar())
    if thing in _WITH_HISTORY:
        kept = insert(connection, version_history).values(name=thing, slot=_slot(number), number=number, tag=tag)
        kept = kept.on_conflict_do_update(
            index_elements=[version_history.c.name, version_history.c.slot], set_={"number": number, "tag": tag}
        )
        connection.execute(kept)
    return number


def check_history(connection: sa.Connection, seen: Mapping[Versioned, Version]) -> None:
    """Raise StoreReplaced unless every one of these versions is part of the store's history."""
    asked = {thing: version for thing, version in seen.items() if version != NEVER_READ}
    if not asked:
        return
    c = version_history.c
    meant = sa.or_(*(sa.and_(c.name == thing, c.slot == _slot(at.number)) for thing, at in asked.items()))
    found = {
        row.name: Version(row.number, row.tag) for row in connection.execute(sa.select(c.name, c.number, c.tag).where(meant))
    }
    for thing, version in asked.items():
        kept = found.get(thing, NEVER_READ)
        if kept.number > version.number:
            raise StoreReplaced(f"{thing} changed more than {HISTORY_LENGTH} times since they were last read")
        if kept != version:
            raise StoreReplaced("the store was replaced or restored from a backup")


def current_version(connection: sa.Connection, thing: Versioned) -> Version:
    """The version of this thing in the state of the store that the transaction sees."""
    row = connection.execute(sa.select(versions.c.number, versions.c.tag).where(versions.c.name == thing)).first()
    _require_row(thing, row.number if row is not None else None)
    return Version(*row) if row is not None else NEVER_READ


def position_after(connection: sa.Connection, thing: Versioned, before: Position, last_number: int | None) -> Position:
    """The position of a reader that was at `before` and has now read on to `last_number`, the number of the last row of
    its page; None when there was no further row. The page must be read in the same transaction.

    Raises StoreReplaced when `before` is not part of the store's history: then the page continues another store's.
    """
    check_history(connection, {thing: before.history})
    now = current_version(connection, thing)
    return Position(now.number if last_number is None else last_number, now)


def _slot(number: int) -> int:
    return number % HISTORY_LENGTH


def _require_row(thing: VersionName, number: int | None) -> int:
    if number is None:
        raise SchemaMismatch(f"the store counts no changes of {thing}", remedy=UPGRADE)
    return number
