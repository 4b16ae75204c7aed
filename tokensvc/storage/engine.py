"""One way to a database, whichever of the two it is.

Rules of the file
- The URL alone chooses the database; the driver of the other one is never imported.
- Every use of the store is one transaction, in a `read_transaction` or a `write_transaction` block: committed when the
  block ends well, undone when it raises. No statement runs outside of one.
- What drivers raise never leaves a block: `failures.py` says what it becomes.
- A call that cannot get an answer fails within `timeout_seconds`, whatever it waits for: a lock, a socket,
  a server that stands still.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from tokensvc.errors import SchemaMismatch
from tokensvc.storage.database_urls import is_ambiguous, parsed
from tokensvc.storage.errors import CORRECT_URL, map_db_errors

_POSTGRES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})


def make_engine(url: str, *, timeout_seconds: float = 5, create: bool = True) -> sa.Engine:
    """Prepare the way to a database; nothing is connected yet.

    A SQLite file that does not exist is made, empty and for its owner alone, unless `create` is false; its directory
    must exist. Raises SchemaMismatch when the URL names no database that we speak, StoreUnavailable when a SQLite file
    cannot be made.
    """
    parts = parsed(url)
    if parts is not None and parts.drivername in _SQLITE:
        from tokensvc.storage import sqlite

        return sqlite.make_engine(parts, timeout_seconds, create=create)
    if parts is not None and parts.drivername in _POSTGRES:
        from tokensvc.storage import postgres

        if is_ambiguous(parts):  # else a part of the password would be looked up as a host
            raise SchemaMismatch(
                "the database URL has more than one @; write %40 for each that is part of a password",
                remedy=CORRECT_URL,
            )
        try:
            return postgres.make_engine(parts.set(drivername="postgresql+psycopg"), timeout_seconds)
        except (ArgumentError, ValueError):
            raise SchemaMismatch("the database URL's hosts and ports do not fit together", remedy=CORRECT_URL) from None
    raise SchemaMismatch("a database URL begins with sqlite:/// or postgresql://", remedy=CORRECT_URL)


@contextlib.contextmanager
def read_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that only reads, and sees one state of the store however many queries it makes."""
    with _transaction(engine, write=False) as connection:
        yield connection


@contextlib.contextmanager
def write_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that writes. On SQLite it is the only one from its first moment (BEGIN IMMEDIATE)."""
    with _transaction(engine, write=True) as connection:
        yield connection


@contextlib.contextmanager
def _transaction(engine: sa.Engine, *, write: bool) -> Iterator[sa.Connection]:
    options = engine.get_execution_options()
    with map_db_errors(engine), options["turn"](), engine.connect() as connection:
        connection = connection.execution_options(**options["writing" if write else "reading"])
        with connection.begin():
            yield connection
