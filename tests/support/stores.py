"""New stores in memory: the production code over a private database."""

from __future__ import annotations

import sqlite3
import weakref
from pathlib import Path

import sqlalchemy as sa

from tokensvc.storage.engine import make_engine
from tokensvc.storage.store import Store


def store_in_memory(migrated: Path) -> Store:
    """A copy, in memory, of a store in a file."""
    engine = make_engine("sqlite://")
    connection = engine.raw_connection()
    assert isinstance(connection.driver_connection, sqlite3.Connection)
    source = sqlite3.connect(migrated)
    source.backup(connection.driver_connection)
    source.close()
    weakref.finalize(engine, connection.driver_connection.close)  # a store in memory is never closed explicitly
    connection.close()
    return Store(engine)


def save(store: Store, path: Path) -> None:
    """Write a store in memory to a new file."""
    connection, target = store.engine.raw_connection(), sqlite3.connect(path)
    assert isinstance(connection.driver_connection, sqlite3.Connection)
    connection.driver_connection.backup(target)
    target.close()
    connection.close()


def restore(store: Store, path: Path) -> None:
    """Replace the content of a store in memory with a store that `save` wrote."""
    connection, source = store.engine.raw_connection(), sqlite3.connect(path)
    assert isinstance(connection.driver_connection, sqlite3.Connection)
    source.backup(connection.driver_connection)
    source.close()
    connection.close()


def dump(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table of a store, by table: equal dumps mean that nothing was written meanwhile."""
    inspector = sa.inspect(store.engine)
    with store.engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))), key=repr)
            for name in inspector.get_table_names()
        }
