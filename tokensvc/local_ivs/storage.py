"""The local IVS's store, in a SQLite database of its own: a file, or in memory.

Invariants
- All resources are in one table. A resource's members are one JSON text; what is searched by has columns and indexes
  beside it. Two small tables hold secrets and numbers that must survive a restart. Playback sessions, which change
  often, have tables of their own (`session_table.py`).
- The tables are created, and resources of earlier versions rewritten, when the store is opened. It is never the
  service's own store, and has no migrations.
- Numbers in the order of creation are never reused (AUTOINCREMENT), so page tokens stay valid.
- Connections, locking and error mapping are those of every SQLite engine of ours. Statements are plain text for the
  driver, since every call of the local IVS waits for them.
- Parsed resources are cached and shared, so they must not be modified in place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any

import orjson
import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.session_table import SqliteSessionTable, define_tables
from tokensvc.storage.engine import make_engine, write_transaction
from tokensvc.storage.errors import map_db_errors, map_driver_error

_METADATA = sa.MetaData()
_RESOURCES = sa.Table(
    "local_ivs_resources",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("arn", sa.Text, nullable=False, unique=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("parent_arn", sa.Text, nullable=False),
    sa.Column("unique_key", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("local_ivs_by_account_region", "account", "region", "kind", "number"),
    sa.Index("local_ivs_by_parent", "parent_arn", "kind", "number"),
    sa.Index(
        "local_ivs_unique",
        *("account", "region", "kind", "unique_key"),
        unique=True,
        sqlite_where=sa.text("unique_key != ''"),
    ),
    sqlite_autoincrement=True,
)
_SECRETS = sa.Table(
    "local_ivs_secrets",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
_NUMBERS = sa.Table(
    "local_ivs_numbers",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)
define_tables(_METADATA)
_UPGRADES = (
    (
        "UPDATE local_ivs_resources SET body = json_object('history', json_array("
        "json_array(json_extract(body, '$.version'), json_extract(body, '$.revokedAt'))))"
        " WHERE kind = 'viewer-session-revocation' AND json_type(body, '$.history') IS NULL"
    ),
    (
        "UPDATE local_ivs_resources SET body = json_set(body, '$.playbackRestrictionPolicy', json('null'))"
        " WHERE kind = 'stream' AND json_type(body, '$.playbackRestrictionPolicy') IS NULL"
    ),
)
"""What gives resources of a file of an earlier version the form of this one. They change nothing when repeated."""
_MAX_CACHED_RESOURCES = 8192
"""The number of resources whose JSON is kept parsed."""


class SqliteResourceStore:
    """`local_ivs.resource_store.ResourceStore` on SQLite. `path` is a file or `:memory:`."""

    def __init__(self, path: str) -> None:
        self._engine = make_engine("sqlite://" if path == ":memory:" else f"sqlite:///{path}")
        with write_transaction(self._engine) as connection:
            _METADATA.create_all(connection)
            for statement in _UPGRADES:
                connection.exec_driver_sql(statement)
        self._call_guard = self._engine.get_execution_options()["call_guard"]
        self._memory = self._engine.raw_connection() if path == ":memory:" else None

    def begin(self, *, write: bool) -> _Begin:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        return _Begin(self._connected(), "BEGIN IMMEDIATE" if write else "BEGIN")

    def get_or_create_secret(self, name: str, create: Callable[[], bytes]) -> bytes:
        """The secret with this name; `create` makes it if there is none."""
        with self._connected() as connection:
            connection.execute("INSERT OR IGNORE INTO local_ivs_secrets (name, value) VALUES (?, ?)", (name, create()))
            row = connection.execute("SELECT value FROM local_ivs_secrets WHERE name = ?", (name,)).fetchone()
            return bytes(row[0])

    def get_number(self, name: str) -> float:
        """The number stored under a name; 0 if there is none."""
        with self._connected() as connection:
            row = connection.execute("SELECT value FROM local_ivs_numbers WHERE name = ?", (name,)).fetchone()
            return float(row[0]) if row else 0.0

    def set_number(self, name: str, value: float) -> None:
        """Store a number. It is durable when this returns."""
        with self._connected() as connection:
            connection.execute(
                "INSERT INTO local_ivs_numbers (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def close(self) -> None:
        """Close the file. A store in memory is lost."""
        if self._memory is not None:
            self._memory.close()
        self._engine.dispose()

    def _connected(self) -> _Connected:
        return _Connected(self._engine, self._call_guard(), self._memory)


class _Connected:
    """A connection for one block. A class, as `_Begin` is: generators would cost more than the statements."""

    def __init__(
        self, engine: sa.Engine, guard: AbstractContextManager[None], memory: sa.PoolProxiedConnection | None
    ) -> None:
        """`memory` is the only connection of a store in memory, which never returns to the pool."""
        self._engine = engine
        self._pooled = self._memory = memory
        self._guard = guard

    def __enter__(self) -> sqlite3.Connection:
        self._guard.__enter__()
        if self._pooled is None:
            try:
                with map_db_errors(self._engine):
                    self._pooled = self._engine.raw_connection()
            except BaseException:
                self._guard.__exit__(None, None, None)
                raise
        return self._pooled.driver_connection  # type: ignore[return-value]  # always SQLite's own connection type

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        try:
            if self._pooled is not None and self._memory is None:
                self._pooled.close()
        finally:
            self._guard.__exit__(None, None, None)
        if isinstance(error, sqlite3.Error):
            raise map_driver_error(error, self._engine) from None
        if isinstance(error, UnicodeEncodeError):
            with map_db_errors(self._engine):
                raise error


class _Begin:
    """A transaction for one block."""

    def __init__(self, connected: _Connected, begin: str) -> None:
        self._connected = connected
        self._begin = begin

    def __enter__(self) -> _Transaction:
        self._connection = self._connected.__enter__()
        try:
            self._connection.execute(self._begin)
        except BaseException as error:
            self._connected.__exit__(type(error), error, None)
            raise
        return _Transaction(self._connection)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        except BaseException as failure:
            kind, error = type(failure), failure
            raise
        finally:
            if error is not None:
                self._connection.rollback()
            self._connected.__exit__(kind, error, None)


class _Transaction:
    """`local_ivs.resource_store.ResourceTransaction` on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.sessions = SqliteSessionTable(connection)

    def get(self, arn: str) -> Resource | None:
        row = self._connection.execute(_GET, (arn,)).fetchone()
        return _resource(AccountRegion(row[0], row[1]), *row[2:]) if row else None

    def find(
        self, account_region: AccountRegion, kind: str, *, parent_arn: str | None = None, unique_key: str | None = None
    ) -> list[Resource]:
        where, values = _conditions(account_region, kind, parent_arn)
        if unique_key is not None:
            # The partial index serves only a query that repeats its condition.
            where, values = f"{where} AND unique_key = ? AND unique_key != ''", [*values, unique_key]
        query = f"{_FIND}{where} ORDER BY number"
        return [_resource(account_region, kind, *row) for row in self._connection.execute(query, values)]

    def page(
        self,
        account_region: AccountRegion,
        kind: str,
        *,
        after: int,
        limit: int,
        parent_arn: str | None = None,
        equal: Mapping[str, str] | None = None,
        newest_first: bool = False,
    ) -> list[tuple[int, Resource]]:
        where, values = _conditions(account_region, kind, parent_arn)
        if after or not newest_first:
            where, values = f"{where} AND number {'<' if newest_first else '>'} ?", [*values, after]
        for member, value in (equal or {}).items():
            where, values = f"{where} AND json_extract(body, ?) = ?", [*values, f'$."{member}"', value]
        order = "number DESC" if newest_first else "number"
        query = f"SELECT number, {_RESOURCE_COLUMNS} FROM local_ivs_resources WHERE {where} ORDER BY {order} LIMIT ?"  # noqa: S608
        rows = self._connection.execute(query, [*values, limit])
        return [
            (number, _resource(account_region, kind, arn, parent_arn, unique_key, body, created_at))
            for number, arn, parent_arn, unique_key, body, created_at in rows
        ]

    def count(self, account_region: AccountRegion, kind: str, *, parent_arn: str | None = None) -> int:
        where, values = _conditions(account_region, kind, parent_arn)
        query = f"SELECT count(*) FROM local_ivs_resources WHERE {where}"  # noqa: S608 - only names
        return int(self._connection.execute(query, values).fetchone()[0])

    def put(self, resource: Resource) -> None:
        self._connection.execute(
            _PUT,
            (
                *resource.account_region,
                resource.kind,
                resource.arn,
                resource.parent_arn,
                resource.unique_key,
                orjson.dumps(dict(resource.body)).decode(),
                resource.created_at,
            ),
        )

    def delete(self, arn: str) -> None:
        self._connection.execute("DELETE FROM local_ivs_resources WHERE arn = ?", (arn,))


_RESOURCE_COLUMNS = "arn, parent_arn, unique_key, body, created_at"
"""The columns to read when account, region and kind are known."""
_FIND = f"SELECT {_RESOURCE_COLUMNS} FROM local_ivs_resources WHERE "  # noqa: S608 - only names
_COLUMNS = f"account, region, kind, {_RESOURCE_COLUMNS}"
_GET = f"SELECT {_COLUMNS} FROM local_ivs_resources WHERE arn = ?"  # noqa: S608 - only names
_PUT = (
    f"INSERT INTO local_ivs_resources ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (arn) DO UPDATE SET unique_key = excluded.unique_key, body = excluded.body,"
    " parent_arn = excluded.parent_arn"
)


def _conditions(account_region: AccountRegion, kind: str, parent_arn: str | None) -> tuple[str, list[Any]]:
    if parent_arn:  # implies account and region; naming them too would make SQLite choose the longer index
        return "parent_arn = ? AND kind = ?", [parent_arn, kind]
    return "account = ? AND region = ? AND kind = ?", [*account_region, kind]


@lru_cache(maxsize=_MAX_CACHED_RESOURCES)
def _resource(
    account_region: AccountRegion, kind: str, arn: str, parent_arn: str, unique_key: str, body: str, created_at: float
) -> Resource:
    return Resource(arn, account_region, kind, parent_arn, unique_key, orjson.loads(body), created_at)
