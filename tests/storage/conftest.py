"""Real SQLite and PostgreSQL databases: each test with a store runs on both, with a new store of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.storage.racers import ProcessRacers, Race, Racers, ThreadRacers
from tests.support.postgres import PostgresServer, postgres_server, unavailable_reason
from tokensvc.storage import migrate, schema
from tokensvc.storage.engine import make_engine, read_transaction, write_transaction
from tokensvc.storage.store import Store, open_store

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole test run."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def reset_postgres(postgres: PostgresServer) -> Iterator[Callable[[], str]]:
    """Resets a migrated database and returns its URL: ten times as fast as creating a new one."""
    database = postgres.fresh()
    url = postgres.url(database)
    migrate.upgrade(url)
    engine = make_engine(url)
    initial = (schema.versions, schema.version_history, schema.deployment)
    with read_transaction(engine) as connection:
        rows = {table: [row._asdict() for row in connection.execute(sa.select(table))] for table in initial}

    def reset() -> str:
        with write_transaction(engine) as connection:
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(sa.delete(table))
            for table in initial:
                connection.execute(sa.insert(table), rows[table])
            connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{migrate.HEAD}'"))
        return postgres.url(database)

    yield reset
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file."""
    shutil.copyfile(sqlite_template, tmp_path / "store.db")
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def postgres_url(reset_postgres: Callable[[], str]) -> str:
    """A migrated PostgreSQL database."""
    return reset_postgres()


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated store, on each database in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """The name of each database in turn."""
    return str(request.param)


@pytest.fixture
def empty_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without a schema, on each database in turn."""
    with _empty(database, request, tmp_path / "empty.db") as url:
        yield url


@pytest.fixture
def other_empty_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of another database without a schema, of the same kind."""
    with _empty(database, request, tmp_path / "other.db") as url:
        yield url


@pytest.fixture
def migrated_url(empty_url: str) -> str:
    """The URL of a migrated store whose schema the test may change, on each database in turn."""
    migrate.upgrade(empty_url)
    return empty_url


@contextlib.contextmanager
def _empty(database: str, request: pytest.FixtureRequest, path: Path) -> Iterator[str]:
    if database == "sqlite":
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.fresh()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An open, migrated store."""
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def process_racers() -> Iterator[Racers]:
    """Two processes that race each other."""
    with ProcessRacers() as racers:
        yield racers


@pytest.fixture(params=["processes", "threads"])
def racers(request: pytest.FixtureRequest) -> Iterator[Racers]:
    """Two racers: two processes, then two threads that share one store."""
    if request.param == "processes":
        yield request.getfixturevalue("process_racers")
    else:
        with ThreadRacers() as threads:
            yield threads


@pytest.fixture
def race(store: Store, store_url: str, racers: Racers) -> Race:
    """A store, and two racers on it."""
    return Race(store, store_url, racers)
