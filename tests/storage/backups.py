"""Backups of a store, created and restored with the tools that operators use, while workers keep running."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from tests.support.postgres import PostgresServer


class Backups(Protocol):
    """A method of backing up and restoring a store."""

    def save(self) -> Path:
        """Back up the store in its present state."""
        ...

    def restore(self, backup: Path) -> None:
        """Replace the store with the backup."""
        ...


class SqliteFile:
    """The backup is a copy of the file; restoring replaces the file."""

    def __init__(self, url: str, folder: Path) -> None:
        self._path = Path(sa.make_url(url).database or "")
        self._folder = folder

    def save(self) -> Path:
        backup = self._folder / "backup.db"
        with sqlite3.connect(self._path) as source, sqlite3.connect(backup) as target:
            source.backup(target)
        return backup

    def restore(self, backup: Path) -> None:
        fresh = shutil.copyfile(backup, self._path.with_name("fresh.db"))
        for leftover in ("-wal", "-shm"):
            self._path.with_name(self._path.name + leftover).unlink(missing_ok=True)
        fresh.replace(self._path)


class SqliteInPlace(SqliteFile):
    """`.restore` of the SQLite shell: it writes pages into the file that workers have open."""

    def restore(self, backup: Path) -> None:
        with sqlite3.connect(backup) as source, sqlite3.connect(self._path) as target:
            source.backup(target)


class PostgresDump:
    """pg_dump, and pg_restore into the same database."""

    def __init__(self, server: PostgresServer, url: str, folder: Path) -> None:
        self._server = server
        self._url = url
        self._folder = folder

    def save(self) -> Path:
        backup = self._folder / "backup.dump"
        self._run("pg_dump", "--format=custom", f"--file={backup}", self._url)
        return backup

    def restore(self, backup: Path) -> None:
        self._run("pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={self._url}", str(backup))

    def _run(self, tool: str, *arguments: str) -> None:
        subprocess.run([self._server.binaries / tool, *arguments], check=True, capture_output=True)
