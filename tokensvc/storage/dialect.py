"""The three places where the databases' SQL differs: their clock, an insert that minds what is there, and patterns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


class StoreNow(FunctionElement[float]):
    """The store's clock in Unix seconds, never a worker's. It moves on within a transaction."""

    type = sa.Double()
    inherit_cache = True


@compiles(StoreNow, "sqlite")
def _of_sqlite(_element: StoreNow, _compiler: Any, **_options: Any) -> str:
    # unixepoch('subsec') wants SQLite 3.42; Debian 12 has 3.40. Both are exact to the millisecond.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(StoreNow, "postgresql")
def _of_postgresql(_element: StoreNow, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class Matches(FunctionElement[bool]):
    """Whether a text has the form of a channel pattern, in which `*` stands for any run of characters."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(Matches, "sqlite")
def _glob(element: Matches, compiler: Any, **options: Any) -> str:
    text, pattern = element.clauses  # LIKE would not mind upper and lower case
    return f"{compiler.process(text, **options)} GLOB {compiler.process(pattern, **options)}"


@compiles(Matches, "postgresql")
def _like(element: Matches, compiler: Any, **options: Any) -> str:
    text, pattern = element.clauses
    return f"{compiler.process(text, **options)} LIKE replace({compiler.process(pattern, **options)}, '*', '%%')"


def matches_any(text: sa.ColumnElement[str], patterns: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether one of the patterns matches the whole text. Patterns hold nothing else that is special to a database:
    see `policy.check_pattern`."""
    return sa.or_(sa.false(), *(Matches(text, sa.literal(pattern, sa.Text)) for pattern in patterns))


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that takes `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # with its five drivers' dialects, so for whoever has that database

    return postgresql.insert(table)
