"""Failures of the database are reported in time and as our errors, and a recovered database is used again."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.storage import samples
from tests.storage.samples import AT, channel, secret
from tests.support.audit import EVENT
from tests.support.postgres import PostgresServer, postgres_server, unavailable_reason
from tokensvc.cli.remedies import failure_text
from tokensvc.deployment.versions import Position
from tokensvc.errors import Conflict, InvalidDatabaseUrl, SchemaMismatch, StoreError, StoreNotFound, StoreUnavailable
from tokensvc.storage import errors, migrate, schema
from tokensvc.storage.engine import make_engine, read_transaction, write_transaction
from tokensvc.storage.store import Store, open_store

TIMEOUT_SECONDS = 2
BOUND_SECONDS = 10
"""psycopg waits for a connection for at least two seconds."""


@contextlib.contextmanager
def fails_in_time(match: str | None = None) -> Iterator[None]:
    """The block raises StoreUnavailable within BOUND_SECONDS."""
    started_at = time.monotonic()
    with pytest.raises(StoreUnavailable, match=match):
        yield
    assert time.monotonic() - started_at < BOUND_SECONDS


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that the tests may stop."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture
def server_store(own_postgres: PostgresServer) -> Iterator[Store]:
    """A store on that server, with a connection in its pool."""
    url = own_postgres.url(own_postgres.fresh())
    migrate.upgrade(url)
    store = open_store(url, timeout_seconds=TIMEOUT_SECONDS)
    store.versions.read()
    yield store
    store.close()


def test_calls_fail_while_the_server_is_stopped(own_postgres: PostgresServer, server_store: Store) -> None:
    own_postgres.stop()
    for _ in range(3):
        with fails_in_time("cannot be reached"):
            server_store.versions.read()
        with fails_in_time("cannot be reached"):
            server_store.leases.acquire("a", "b", 60)
    own_postgres.start()
    assert server_store.leases.acquire("a", "b", 60)


def test_no_call_fails_after_a_restart_of_the_server(own_postgres: PostgresServer, server_store: Store) -> None:
    """Closed connections are detected before they are used."""
    own_postgres.stop()
    own_postgres.start()
    assert server_store.versions.read().keys.number == 0


def test_a_transaction_fails_when_the_server_stops(own_postgres: PostgresServer, server_store: Store) -> None:
    with fails_in_time("cannot be reached"), write_transaction(server_store.engine) as connection:
        connection.execute(sa.update(schema.versions).values(number=99))
        own_postgres.stop()
        own_postgres.start()
    assert server_store.versions.read().keys.number == 0


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_calls_to_a_hanging_server_time_out(own_postgres: PostgresServer, server_store: Store) -> None:
    with own_postgres.frozen():
        for _ in range(2):  # with a pooled connection, and with a new one
            with fails_in_time():
                server_store.versions.read()
    assert server_store.versions.read().keys.number == 0


def test_a_slow_query_times_out(server_store: Store) -> None:
    with fails_in_time("in time"), read_transaction(server_store.engine) as connection:
        connection.execute(sa.select(sa.func.pg_sleep(10)))
    assert server_store.versions.read().keys.number == 0


def test_waiting_for_a_locked_row_times_out(own_postgres: PostgresServer, server_store: Store) -> None:
    with write_transaction(server_store.engine) as connection:
        connection.execute(sa.update(schema.versions).values(number=schema.versions.c.number))
        with fails_in_time("in time"):
            server_store.channels.record([channel("a")])
    assert server_store.channels.record([channel("a")]) == 1


def test_a_server_without_free_connections_is_unavailable(own_postgres: PostgresServer, server_store: Store) -> None:
    with write_transaction(server_store.engine) as connection:
        connection.execute(sa.text(f"ALTER DATABASE {server_store.engine.url.database} CONNECTION LIMIT 0"))
        connection.execute(sa.text("CREATE ROLE plain LOGIN"))
    plain = server_store.engine.url.set(username="plain").render_as_string()
    with fails_in_time("cannot be reached"):
        open_store(plain)


def test_a_missing_database_is_reported(own_postgres: PostgresServer) -> None:
    with fails_in_time("does not exist"):
        open_store(own_postgres.url("nowhere"))


def test_a_rejected_login_is_reported(own_postgres: PostgresServer) -> None:
    with fails_in_time("rejected the login"):
        open_store(own_postgres.url("postgres").replace("postgres@", "nobody:hunter2@"))


def test_a_closed_port_is_unavailable() -> None:
    with fails_in_time("cannot be reached"):
        open_store("postgresql://user:hunter2@127.0.0.1:1/store")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (
            "postgresql://user:hunter2@127.0.0.1:1/store",
            "(PostgreSQL: host 127.0.0.1, port 1, database store, role user)",
        ),
        (
            "postgresql:///store?host=127.0.0.1:1&host=127.0.0.1:2&user=me&password=hunter2",
            "(PostgreSQL: host 127.0.0.1,127.0.0.1, port 1,2, database store, role me)",
        ),
        (
            "postgresql://user:hunter2@/store?host=/nowhere",
            "(PostgreSQL: host /nowhere, port 5432, database store, role user)",
        ),
        ("postgresql:///?service=absent&user=me&password=hunter2", "(PostgreSQL: service absent, role me)"),
    ],
)
def test_the_detail_has_the_target_and_the_drivers_message(url: str, target: str) -> None:
    with pytest.raises(StoreUnavailable) as failed:
        open_store(url, timeout_seconds=TIMEOUT_SECONDS)
    assert failed.value.message == "the store cannot be reached", (
        "callers see neither the target nor the driver's message"
    )
    assert failed.value.detail.endswith(target)
    assert re.search("Connection refused|No such file|not found", failed.value.detail), failed.value.detail
    assert "hunter2" not in failed.value.operator_message


def test_the_target_includes_libpqs_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "me", "PGPASSWORD": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable) as failed:
        open_store("postgresql://", timeout_seconds=TIMEOUT_SECONDS)
    assert failed.value.detail.endswith("(PostgreSQL: host 127.0.0.1, port 1, database me, role me)")
    assert "hunter2" not in failed.value.operator_message


def test_the_detail_has_the_servers_message(own_postgres: PostgresServer) -> None:
    for url, message in (
        (own_postgres.url("nowhere"), 'database "nowhere" does not exist'),
        (own_postgres.url("postgres").replace("postgres@", "nobody:hunter2@"), 'role "nobody" does not exist'),
    ):
        with pytest.raises(StoreUnavailable) as failed:
            open_store(url)
        assert message in failed.value.detail
        assert "hunter2" not in failed.value.operator_message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hun@hunter2@h/store",
        "postgresql://user:hun@x/hunter2@h/store",
        "postgresql://h/store?port=hunter2",
        "postgresql:///store?host=h&host=i&port=hunter2&port=2",
        "postgresql://user:hunter2@h:x/store",
    ],
)
def test_an_invalid_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as failed:
        open_store(url, timeout_seconds=TIMEOUT_SECONDS)
    assert "hunter2" not in "".join(traceback.format_exception(failed.value)) + failed.value.detail


def test_passwords_in_a_drivers_message_are_masked() -> None:
    """No known release of libpq includes connection strings in its messages; a later one may."""
    engine = make_engine("postgresql://user:hunter2@h/store?sslpassword=hunter3")
    message = (
        "cannot use postgresql://user:hunter2@h/store or host=h password='hun ter4' passwd=hunter5, hunter2, hunter3"
    )
    detail = errors.map_driver_error(psycopg.OperationalError(message), engine).detail
    assert "host h" in detail
    assert not re.search(r"hunter\d|ter4", detail)


def test_values_that_a_server_quotes_are_not_shown(server_store: Store) -> None:
    for statement in (
        "SELECT 'hunter2'::integer",
        "DO $$ BEGIN RAISE EXCEPTION 'row %', 'hunter2'; END $$",
    ):
        with pytest.raises(StoreError) as failed, read_transaction(server_store.engine) as connection:
            connection.exec_driver_sql(statement)
        assert "hunter2" not in failed.value.operator_message


def test_the_detail_has_the_file_and_sqlites_message(sqlite_url: str) -> None:
    store, path = open_store(sqlite_url), path_of(sqlite_url)
    for leftover in path.parent.glob("store.db*"):
        leftover.unlink()
    with pytest.raises(StoreUnavailable) as failed:
        store.versions.read()
    assert failed.value.detail == f"SQLITE_CANTOPEN: unable to open database file (SQLite: {path})"
    store.close()


def test_a_store_without_a_schema_names_the_command_that_creates_it(empty_url: str) -> None:
    store = Store(make_engine(empty_url))
    for use in (store.versions.read, lambda: samples.add_key(store, "k1")):
        with pytest.raises(SchemaMismatch) as failed:
            use()
        assert "; run `tokensvc db upgrade`" in failure_text(failed.value)
    store.close()


@contextlib.contextmanager
def another_process(path: str, statement: str) -> Iterator[None]:
    """While the block runs, another process holds the lock that this statement acquired."""
    program = (
        "import sqlite3, sys\nheld = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute(sys.argv[2])\nprint('held', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", program, path, statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.mark.slow
def test_waiting_for_a_locked_file_times_out(sqlite_url: str) -> None:
    store = open_store(sqlite_url, timeout_seconds=0.1)
    with another_process(str(path_of(sqlite_url)), "BEGIN IMMEDIATE"):
        with fails_in_time("locked by another process"):
            store.leases.acquire("a", "b", 60)
        assert store.versions.read().keys.number == 0, "readers are not blocked"
    assert store.leases.acquire("a", "b", 60)
    store.close()


def test_a_full_disk_acknowledges_nothing(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with read_transaction(store.engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")
    with fails_in_time("disk is full"):
        store.channels.record([channel(f"c{number}", url="x" * 1000) for number in range(50)])
    assert store.channels.changed_since(Position(), 10).rows == []
    assert store.versions.read().channels.number == 0
    assert store.channels.record([channel("small")]) == 1
    store.close()


def test_a_removed_file_is_unavailable_and_never_written(sqlite_url: str) -> None:
    """SQLite would continue to write to the deleted file."""
    store, path = open_store(sqlite_url), path_of(sqlite_url)
    content = path.read_bytes()
    for leftover in path.parent.glob("store.db*"):
        leftover.unlink()
    with fails_in_time("cannot be reached"):
        store.leases.acquire("a", "b", 60)
    assert not path.exists(), "a store is never created by using it"
    path.write_bytes(content)
    assert store.leases.acquire("a", "b", 60)
    store.close()


def test_a_file_that_was_replaced_is_reopened(sqlite_url: str) -> None:
    store, path = open_store(sqlite_url), path_of(sqlite_url)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    store.leases.acquire("a", "b", 60)
    for leftover in path.parent.glob("store.db-*"):
        leftover.unlink()
    copy.rename(path)
    assert store.leases.acquire("a", "another", 60), "the new file has no lease"
    store.close()


@pytest.mark.slow
def test_a_read_only_directory_is_unavailable(sqlite_template: Path) -> None:
    """As an ordinary user, since file modes do not apply to root."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "store.db"
        copy.write_bytes(sqlite_template.read_bytes())
        copy.chmod(0o444)
        Path(folder).chmod(0o555)
        program = (
            "import os\nfrom tokensvc.storage.engine import make_engine\n"
            "from tokensvc.storage.store import Store\nfrom tokensvc.errors import StoreUnavailable\n"
            f"store = Store(make_engine('sqlite:///{copy}', create=False))\n"
            "if os.geteuid() == 0:\n    os.setuid(65534)\n"
            "try:\n    store.leases.acquire('a', 'b', 60)\n"
            "except StoreUnavailable as failure:\n    print(failure.message)"
        )
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        Path(folder).chmod(0o755)
    assert ran.stdout in {"the store cannot be reached\n", "the store is read-only\n"}


def test_a_file_that_is_not_a_database_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is not a database" * 250)
    with pytest.raises(StoreNotFound, match="not a SQLite database"):
        open_store(f"sqlite:///{tmp_path}/store.db")


def test_an_unlisted_database_error_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="the store failed") as failed, read_transaction(store.engine) as connection:
        connection.exec_driver_sql("SELEC")
    assert type(failed.value) is StoreError


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_text_that_cannot_be_stored_is_reported(postgres_url: str, text: str) -> None:
    store = open_store(postgres_url)
    with pytest.raises(StoreError, match="accepts only valid Unicode text without the character NUL"):
        store.rotation_requests.get(text)
    store.close()


def test_no_value_of_a_row_is_shown_by_an_error(store: Store) -> None:
    """Drivers quote rows in their messages; our message, detail and traceback do not repeat them."""
    store.callers.add("backend", samples.POLICY, secret("key-of-the-row"), EVENT)
    row = {"key_id": "key-of-the-row", "caller": "backend", "ordinal": 1, "digest": b"the-digest", "created_at": AT}
    with pytest.raises(Conflict) as failed, write_transaction(store.engine) as connection:
        connection.execute(sa.insert(schema.caller_secrets).values(**row))
    shown = "".join(traceback.format_exception(failed.value)) + failed.value.detail
    for value in ("the-digest", b"the-digest".hex(), "key-of-the-row", "backend"):
        assert value not in shown
