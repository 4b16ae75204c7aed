"""SQLite: one file, several processes.

Invariants
- WAL with `synchronous=FULL`: committed transactions survive power loss, and readers never wait for a writer.
- The driver's own transaction handling is off (`isolation_level=None`). A write transaction is BEGIN IMMEDIATE, so it
  waits for other writers at its start and never fails at its commit because of one.
- A connection only opens a file that exists. It is dropped once the file at the path is no longer the one it has open:
  a write to a removed file would be acknowledged and lost.
- An in-memory database is one connection, which threads use one after the other.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DisconnectionError

from tokensvc.errors import Action, Remedy, StoreError, StoreNotFound, StoreUnavailable
from tokensvc.storage.errors import UPGRADE

_MIN_VERSION = (3, 35, 0)
"""The first SQLite with RETURNING."""
_OPTIONS: dict[str, Any] = {"reading": {"begin": "BEGIN"}, "writing": {"begin": "BEGIN IMMEDIATE"}}
_RETRY_SECONDS = 0.02


def make_engine(url: sa.URL, timeout_seconds: float, *, create: bool) -> sa.Engine:
    """An engine for a SQLite database; see `engine.make_engine`."""
    if sqlite3.sqlite_version_info < _MIN_VERSION:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; tokensvc requires SQLite 3.35 or newer")
    if url.database in (None, "", ":memory:"):
        return _in_memory(timeout_seconds)
    path = Path(str(url.database)).absolute()
    if create:
        _create_file(path)
    elif not path.exists():
        raise StoreNotFound(f"there is no store at {path}", subject={"path": str(path)}, remedy=UPGRADE)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        creator=lambda: _connect(path, timeout_seconds),
        pool_size=16,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        hide_parameters=True,
        execution_options={**_OPTIONS, "call_guard": contextlib.nullcontext, "target": f"SQLite: {path}"},
    )
    sa.event.listen(engine, "begin", _begin)
    sa.event.listen(engine, "connect", lambda _, record: record.info.update(file=_file_id(path)))
    sa.event.listen(engine, "checkout", lambda _, record, __: _check_file(path, record.info["file"]))
    return engine


def _in_memory(timeout_seconds: float) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://",
        poolclass=sa.StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
        hide_parameters=True,
        execution_options={**_OPTIONS, "call_guard": _serialize_calls(timeout_seconds), "target": "SQLite: in memory"},
    )
    sa.event.listen(engine, "begin", _begin)
    sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    return engine


class _SerializedCalls:
    """A block that one thread at a time is in. A class, since every transaction waits for it, and a generator costs
    several times as much."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._timeout_seconds):
            raise StoreUnavailable("the store is locked by another thread")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _serialize_calls(timeout_seconds: float) -> Callable[[], contextlib.AbstractContextManager[None]]:
    calls = _SerializedCalls(timeout_seconds)
    return lambda: calls


def _create_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileNotFoundError:
        raise StoreUnavailable(
            f"the directory {path.parent} does not exist; create it first",
            subject={"path": str(path.parent)},
            remedy=Remedy(Action.CREATE_DIRECTORY, {"path": str(path.parent)}),
        ) from None
    except OSError as error:
        raise StoreUnavailable(f"the store {path} cannot be opened: {error.strerror}") from None


def _connect(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=timeout_seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _use_wal(connection, time.monotonic() + timeout_seconds)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch a new file to WAL. If two processes do it concurrently, SQLite returns BUSY without waiting, so retry."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN IMMEDIATE"))


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_file(path: Path, opened: tuple[int, int] | None) -> None:
    if opened is None or _file_id(path) != opened:
        raise DisconnectionError("the file was removed or replaced")
