"""Backups of a store, taken and put back with the tools that operators use, under workers that go on running."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from tests.support.postgres import PostgresServer


class Backups(Protocol):
    """One way to back a store up and to restore it."""

    def save(self) -> Path:
        """Back the store up as it is now."""
        ...

    def restore(self, backup: Path) -> None:
        """Put the backup in the store's place."""
        ...


class SqliteFile:
    """The file is copied while nobody writes, and another one takes its name."""

    def __init__(self, url: str, room: Path) -> None:
        self._path = Path(sa.make_url(url).database or "")
        self._room = room

    def save(self) -> Path:
        backup = self._room / "backup.db"
        with sqlite3.connect(self._path) as source, sqlite3.connect(backup) as target:
            source.backup(target)
        return backup

    def restore(self, backup: Path) -> None:
        fresh = shutil.copyfile(backup, self._path.with_name("fresh.db"))
        for leftover in ("-wal", "-shm"):
            self._path.with_name(self._path.name + leftover).unlink(missing_ok=True)
        fresh.replace(self._path)


class SqliteInPlace(SqliteFile):
    """`.restore` of the SQLite shell: pages are written into the file that workers hold open."""

    def restore(self, backup: Path) -> None:
        with sqlite3.connect(backup) as source, sqlite3.connect(self._path) as target:
            source.backup(target)


class PostgresDump:
    """pg_dump, and pg_restore into the same database."""

    def __init__(self, server: PostgresServer, url: str, room: Path) -> None:
        self._server = server
        self._url = url
        self._room = room

    def save(self) -> Path:
        backup = self._room / "backup.dump"
        self._run("pg_dump", "--format=custom", f"--file={backup}", self._url)
        return backup

    def restore(self, backup: Path) -> None:
        self._run("pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={self._url}", str(backup))

    def _run(self, tool: str, *arguments: str) -> None:
        subprocess.run([self._server.binaries / tool, *arguments], check=True, capture_output=True)
