"""The local IVS's store, in a SQLite database of its own: a file, or in memory.

Invariants
- All resources are in one table. A resource's members are one JSON text; what is searched by has columns and indexes
  beside it. Two small tables hold secrets and numbers that must survive a restart.
- The tables are created when the store is opened. It is never the service's own store, and has no migrations.
- Numbers in the order of creation are never reused (AUTOINCREMENT), so page tokens stay valid.
- Connections, locking and error mapping are those of every SQLite engine of ours. Statements are plain text for the
  driver, since every call of the local IVS waits for them.
- Parsed resources are cached and shared, so they must not be modified in place.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.resource_store import Resource
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
_MAX_CACHED_RESOURCES = 8192
"""The number of resources whose JSON is kept parsed."""


class SqliteResourceStore:
    """`local_ivs.resource_store.ResourceStore` on SQLite. `path` is a file or `:memory:`."""

    def __init__(self, path: str) -> None:
        self._engine = make_engine("sqlite://" if path == ":memory:" else f"sqlite:///{path}")
        with write_transaction(self._engine) as connection:
            _METADATA.create_all(connection)
        self._call_guard = self._engine.get_execution_options()["call_guard"]

    @contextlib.contextmanager
    def begin(self, *, write: bool) -> Iterator[_Transaction]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield _Transaction(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.execute("COMMIT")

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
        self._engine.dispose()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with map_db_errors(self._engine), self._call_guard():
            pooled = self._engine.raw_connection()
            try:
                yield pooled.driver_connection  # type: ignore[misc]  # always SQLite's own connection type
            except sqlite3.Error as error:
                raise map_driver_error(error, self._engine) from None
            finally:
                pooled.close()


class _Transaction:
    """`local_ivs.resource_store.ResourceTransaction` on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

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
        query = f"SELECT {_RESOURCE_COLUMNS} FROM local_ivs_resources WHERE {where} ORDER BY number"  # noqa: S608 - only names
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
