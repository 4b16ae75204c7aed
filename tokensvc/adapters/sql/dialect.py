"""The two places where the databases' SQL differs: their clock, and an insert that minds what is there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


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


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that takes `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
