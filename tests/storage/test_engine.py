"""Engines and transactions on both databases."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.storage.samples import channel
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import InvalidDatabaseUrl, StoreNotFound, StoreUnavailable
from tokensvc.storage.engine import make_engine, read_transaction, write_transaction
from tokensvc.storage.schema import leases, metadata, versions
from tokensvc.storage.store import Store, open_store

UNREACHABLE = "postgresql://user:hunter2@127.0.0.1:1/nowhere"


def count(engine: sa.Engine) -> int:
    """How many leases there are."""
    with read_transaction(engine) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(leases)).scalar_one()


def add_lease(connection: sa.Connection, name: str) -> None:
    connection.execute(sa.insert(leases).values(name=name, holder="", expires_at=0))


def test_a_block_is_committed_at_its_end(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        add_lease(connection, "a")
    assert count(store.engine) == 1


def test_a_block_that_raises_is_rolled_back(store: Store) -> None:
    def fail() -> None:
        with write_transaction(store.engine) as connection:
            add_lease(connection, "a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert count(store.engine) == 0


def test_a_read_transaction_sees_one_state(store: Store) -> None:
    """Whatever is written between its queries."""
    query = sa.select(sa.func.count()).select_from(leases)
    with read_transaction(store.engine) as connection:
        assert connection.execute(query).scalar() == 0
        store.leases.acquire("a", "b", 60)
        assert connection.execute(query).scalar() == 0
    assert count(store.engine) == 1


def test_a_writer_does_not_block_readers(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        add_lease(connection, "a")
        assert count(store.engine) == 0


def test_a_read_transaction_cannot_write_on_postgresql(postgres_url: str) -> None:
    store = open_store(postgres_url)
    with pytest.raises(StoreUnavailable, match="read-only"), read_transaction(store.engine) as connection:
        add_lease(connection, "a")
    store.leases.acquire("a", "b", 60)
    store.close()


def test_a_sqlite_write_transaction_excludes_other_writers_from_its_start(sqlite_url: str) -> None:
    """BEGIN IMMEDIATE, so a conflict shows at the start and not at the commit."""
    first, second = open_store(sqlite_url), open_store(sqlite_url, timeout_seconds=0.05)
    with (
        write_transaction(first.engine),
        pytest.raises(StoreUnavailable, match="locked"),
        write_transaction(second.engine),
    ):
        pytest.fail("two concurrent write transactions")
    assert second.leases.acquire("a", "b", 60)
    first.close()
    second.close()


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_sqlite_is_configured_for_durability(sqlite_url: str, pragma: str, value: object) -> None:
    engine = make_engine(sqlite_url)
    with read_transaction(engine) as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


def test_a_sqlite_file_is_accessible_to_its_owner_only(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/new.db")
    with write_transaction(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
    engine.dispose()


def test_a_sqlite_path_may_have_characters_that_are_special_in_uris(tmp_path: Path) -> None:
    engine = make_engine(sa.URL.create("sqlite", database=f"{tmp_path}/a b%20c#d?e.db").render_as_string())
    with write_transaction(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    assert (tmp_path / "a b%20c#d?e.db").exists()
    engine.dispose()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="missing does not exist"):
        make_engine(f"sqlite:///{tmp_path}/missing/store.db")


def test_opening_never_creates_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound) as failed:
        open_store(f"sqlite:///{tmp_path}/store.db")
    assert "db upgrade" in failure_text(failed.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_threads_share_an_in_memory_database(url: str) -> None:
    engine = make_engine(url)
    with write_transaction(engine) as connection:
        metadata.create_all(connection)
        connection.execute(sa.insert(versions).values(name="channels", number=0, tag=""))
    channels = Store(engine).channels
    with ThreadPoolExecutor(4) as threads:
        numbers = threads.map(lambda number: channels.record([channel(f"c{number}")]), range(100))
    assert sorted(numbers) == list(range(1, 101))
    engine.dispose()


def test_waiting_for_an_in_memory_database_times_out() -> None:
    engine = make_engine("sqlite://", timeout_seconds=0.05)
    with write_transaction(engine), pytest.raises(StoreUnavailable, match="locked"), read_transaction(engine):
        pytest.fail("two concurrent transactions")
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_has_three_url_schemes(postgres_url: str, scheme: str) -> None:
    store = open_store(postgres_url.replace("postgresql", scheme, 1))
    assert store.versions.read().keys.number == 0
    store.close()


@pytest.mark.parametrize("url", ["", "nothing", "mysql://user:hunter2@host/db", "postgresql+asyncpg://u:hunter2@h/d"])
def test_an_unsupported_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl, match="must begin with sqlite:/// or postgresql://") as refused:
        make_engine(url)
    assert "hunter2" not in str(refused.value) + refused.value.detail


def test_no_password_is_shown() -> None:
    engine = make_engine(UNREACHABLE)
    with pytest.raises(StoreUnavailable) as failed, read_transaction(engine):
        pytest.fail("connected")
    assert "hunter2" not in repr(engine) + str(failed.value) + failed.value.detail


@pytest.mark.slow
@pytest.mark.parametrize(("url", "other"), [("sqlite://", "psycopg"), (UNREACHABLE, "sqlite3")])
def test_the_driver_of_the_other_database_is_not_loaded(url: str, other: str) -> None:
    program = (
        "import sys\nfrom tokensvc.storage import engine\n"
        f"engine.make_engine({url!r}).dispose()\nprint({other!r} in sys.modules, 'alembic' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
