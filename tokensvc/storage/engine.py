"""Engines and transactions, for SQLite and PostgreSQL alike.

Invariants
- The URL alone selects the database; the driver of the other one is never imported.
- Every use of the store is one transaction, in a `read_transaction` or a `write_transaction` block: committed at the
  end of the block, rolled back if it raises. No statement runs outside of one.
- Exceptions of drivers never leave a block: `errors.py` maps them to the errors of tokensvc.
- What observes the store gets every transaction, also those that fail, once it has ended.
- A call without a response fails within `timeout_seconds`, whatever it waits for: a lock, a socket, a hanging server.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from tokensvc.errors import InvalidDatabaseUrl, StoreError
from tokensvc.storage.database_urls import is_ambiguous, parsed
from tokensvc.storage.errors import CORRECT_URL, map_db_errors

_POSTGRES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})


class Transaction(NamedTuple):
    """One transaction that has ended."""

    mode: str
    """`read` or `write`."""
    seconds: float
    wait_seconds: float | None
    """How long it waited for a connection; None if it got none."""
    error_code: str
    """The code of the StoreError that it failed with, or ""."""


Observe = Callable[[Transaction], None]
"""Called in the thread of the transaction. Must return soon and raise nothing."""


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
    after_commit: list[Callable[[], None]] = []
    with _transaction(engine, write=True) as connection:
        yield connection.execution_options(after_commit=after_commit)
    for call in after_commit:
        call()


def call_after_commit(connection: sa.Connection, call: Callable[[], None]) -> None:
    """Call this once the present write transaction is committed; never if it is rolled back."""
    calls: list[Callable[[], None]] = connection.get_execution_options()["after_commit"]
    calls.append(call)


def observe_transactions(engine: sa.Engine, observe: Observe) -> None:
    """Call this with every transaction from now on."""
    engine.update_execution_options(observe=observe)


def pool_usage(engine: sa.Engine) -> tuple[int, int]:
    """How many connections are in use, and how many there may be."""
    pool = engine.pool
    return (pool.checkedout(), pool.size()) if isinstance(pool, sa.QueuePool) else (0, 1)


@contextlib.contextmanager
def _transaction(engine: sa.Engine, *, write: bool) -> Iterator[sa.Connection]:
    options, started_at, wait_seconds, code = engine.get_execution_options(), time.monotonic(), None, ""
    try:
        with map_db_errors(engine), options["call_guard"](), engine.connect() as connection:
            wait_seconds = time.monotonic() - started_at
            connection = connection.execution_options(**options["writing" if write else "reading"])
            with connection.begin():
                yield connection
    except StoreError as error:
        code = error.code
        raise
    finally:
        if (observe := options.get("observe")) is not None:
            observe(Transaction("write" if write else "read", time.monotonic() - started_at, wait_seconds, code))
