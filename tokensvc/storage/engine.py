"""Engines and transactions, for SQLite and PostgreSQL alike.

Invariants
- The URL alone selects the database; the driver of the other one is never imported.
- Every use of the store is one transaction, in a `read_transaction` or a `write_transaction` block: committed at the
  end of the block, rolled back if it raises. No statement runs outside of one.
- Exceptions of drivers never leave a block: `errors.py` maps them to the errors of tokensvc.
- A call without a response fails within `timeout_seconds`, whatever it waits for: a lock, a socket, a hanging server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from tokensvc.errors import InvalidDatabaseUrl
from tokensvc.storage.database_urls import is_ambiguous, parsed
from tokensvc.storage.errors import CORRECT_URL, map_db_errors

_POSTGRES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})


def make_engine(url: str, *, timeout_seconds: float = 5, create: bool = True) -> sa.Engine:
    """An engine for this URL; it does not connect yet.

    A SQLite file that does not exist is created, empty and readable by its owner only, unless `create` is false; its
    directory must exist. Raises InvalidDatabaseUrl; StoreNotFound if a SQLite file does not exist and `create` is
    false; StoreUnavailable if it cannot be created.
    """
    parts = parsed(url)
    if parts is not None and parts.drivername in _SQLITE:
        from tokensvc.storage import sqlite

        return sqlite.make_engine(parts, timeout_seconds, create=create)
    if parts is not None and parts.drivername in _POSTGRES:
        from tokensvc.storage import postgres

        if is_ambiguous(parts):  # otherwise a part of the password would be resolved as a host name
            raise InvalidDatabaseUrl(
                "the database URL has more than one @; write %40 for each @ in the password",
                remedy=CORRECT_URL,
            )
        try:
            return postgres.make_engine(parts.set(drivername="postgresql+psycopg"), timeout_seconds)
        except (ArgumentError, ValueError):
            raise InvalidDatabaseUrl(
                "the hosts and ports in the database URL do not match", remedy=CORRECT_URL
            ) from None
    raise InvalidDatabaseUrl("the database URL must begin with sqlite:/// or postgresql://", remedy=CORRECT_URL)


@contextlib.contextmanager
def read_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One read-only transaction. All its queries see the same state of the store."""
    with _transaction(engine, write=False) as connection:
        yield connection


@contextlib.contextmanager
def write_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One write transaction. On SQLite it excludes other writers from its start (BEGIN IMMEDIATE)."""
    with _transaction(engine, write=True) as connection:
        yield connection


@contextlib.contextmanager
def _transaction(engine: sa.Engine, *, write: bool) -> Iterator[sa.Connection]:
    options = engine.get_execution_options()
    with map_db_errors(engine), options["call_guard"](), engine.connect() as connection:
        connection = connection.execution_options(**options["writing" if write else "reading"])
        with connection.begin():
            yield connection
