"""The version numbers by which workers learn that something changed.

Rules of the file
- A transaction that changes a thing holds the thing's row in `versions` from its first statement, so that changes to
  one thing happen one after the other and numbers become visible in order (sequence values would not).
- Whoever holds two takes `deployment` before `keys`, `revocations` before `denials`.
- Nothing changed, nothing raised: a number that rises makes every worker read.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from tokensvc.adapters.sql.tables import versions
from tokensvc.errors import StoreUnfit

Thing = Literal["deployment", "keys", "callers", "channels", "revocations", "denials"]


def hold(connection: sa.Connection, thing: Thing) -> int:
    """Wait until no other transaction is changing this thing, keep others out until ours ends; the number so far."""
    found = connection.execute(sa.select(versions.c.n).where(versions.c.name == thing).with_for_update()).scalar()
    return _there(thing, found)


def advance(connection: sa.Connection, thing: Thing, by: int = 1) -> int:
    """Raise the number in the transaction that changes the thing, and return it."""
    raised = sa.update(versions).where(versions.c.name == thing).values(n=versions.c.n + by).returning(versions.c.n)
    return _there(thing, connection.execute(raised).scalar())


def _there(thing: Thing, number: int | None) -> int:
    if number is None:
        raise StoreUnfit(f"the store counts no changes of {thing}; run `tokensvc db upgrade`")
    return number
