"""Differences between the databases' SQL in queries: the clock, pattern matching, upserts, the limit of parameters.

Column types and partial indexes are in `schema.py` and `revocation_tables.py`, the lock of upgrades in `migrate.py`,
error codes in `errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

_T = TypeVar("_T")
QUERY_BATCH_SIZE = 500
"""Values in one query. SQLite allows 32,766 parameters, PostgreSQL 65,535."""


class StoreNow(FunctionElement[float]):
    """The store's clock in Unix seconds, never a worker's. It advances within a transaction."""

    type = sa.Double()
    inherit_cache = True


@compiles(StoreNow, "sqlite")
def _of_sqlite(_element: StoreNow, _compiler: Any, **_options: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42; Debian 12 has 3.40. Both are exact to the millisecond.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(StoreNow, "postgresql")
def _of_postgresql(_element: StoreNow, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class Matches(FunctionElement[bool]):
    """Whether a text matches a channel pattern, in which `*` stands for any characters."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(Matches, "sqlite")
def _glob(element: Matches, compiler: Any, **options: Any) -> str:
    text, pattern = element.clauses  # LIKE ignores case on SQLite
    return f"{compiler.process(text, **options)} GLOB {compiler.process(pattern, **options)}"


@compiles(Matches, "postgresql")
def _like(element: Matches, compiler: Any, **options: Any) -> str:
    text, pattern = element.clauses
    return f"{compiler.process(text, **options)} LIKE replace({compiler.process(pattern, **options)}, '*', '%%')"


def matches_any(text: sa.ColumnElement[str], patterns: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether one of the patterns matches the whole text.

    Patterns contain no other characters that GLOB or LIKE treat as special: see `policy.check_pattern`.
    """
    return sa.or_(sa.false(), *(Matches(text, sa.literal(pattern, sa.Text)) for pattern in patterns))


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that supports `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # loads the dialects of five drivers, so only on PostgreSQL

    return postgresql.insert(table)


def chunked(values: Iterable[_T]) -> Iterator[list[_T]]:
    """Split values into lists of at most QUERY_BATCH_SIZE, one for each query."""
    items = list(values)
    return (items[start : start + QUERY_BATCH_SIZE] for start in range(0, len(items), QUERY_BATCH_SIZE))
