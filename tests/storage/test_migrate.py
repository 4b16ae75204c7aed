"""Upgrades of the schema: atomic, done once, and checked without alembic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.storage import next_version, prerelease
from tests.storage.racers import Racers
from tests.storage.samples import HERE, add_key
from tests.storage.schemas import described
from tokensvc.audit.store import AuditFilter
from tokensvc.callers.policy import CallerPolicy
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import Action, Remedy, SchemaMismatch, StoreError
from tokensvc.storage import changes, migrate, schema
from tokensvc.storage.engine import make_engine, read_transaction, write_transaction
from tokensvc.storage.store import Store, open_store

pytestmark = pytest.mark.slow


def set_revision(url: str, revision: str) -> None:
    engine = make_engine(url)
    with write_transaction(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
    engine.dispose()


def test_an_empty_database_becomes_a_store(empty_url: str) -> None:
    assert migrate.upgrade(empty_url) == (None, migrate.HEAD)
    assert migrate.current(empty_url) == migrate.HEAD
    store = open_store(empty_url)
    assert [version.number for version in store.versions.read().by_name().values()] == [0] * 5
    store.close()


def test_upgrading_again_changes_nothing(store: Store, store_url: str) -> None:
    before = store.deployment.read()
    assert migrate.upgrade(store_url) == (migrate.HEAD, migrate.HEAD)
    assert store.deployment.read() == before


def test_upgrading_prints_nothing(empty_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    migrate.upgrade(empty_url)
    assert capfd.readouterr() == ("", "")


def test_each_deployment_has_its_own_id_and_salt(sqlite_url: str, postgres_url: str) -> None:
    first, second = open_store(sqlite_url), open_store(postgres_url)
    ours, theirs = first.deployment.read(), second.deployment.read()
    assert ours.id != theirs.id
    assert ours.passphrase_salt != theirs.passphrase_salt
    first.close()
    second.close()


def test_one_of_two_concurrent_upgrades_creates_the_store(empty_url: str, racers: Racers) -> None:
    outcomes = racers.race(empty_url, "upgrade", 0)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert {outcome.value for outcome in outcomes} == {None, migrate.HEAD}


def test_a_failed_upgrade_leaves_nothing(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with write_transaction(engine) as connection:
        connection.execute(sa.text("CREATE TABLE leases (x INTEGER)"))
    with pytest.raises(StoreError):
        migrate.upgrade(empty_url)
    with read_transaction(engine) as connection:
        assert sa.inspect(connection).get_table_names() == ["leases"]
    engine.dispose()


def test_the_migrated_schema_equals_the_metadata_for_alembic(store: Store) -> None:
    """As alembic compares them when it generates the next revision."""
    options = {"compare_type": True, "compare_server_default": True}
    with read_transaction(store.engine) as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []


def schema_of(url: str, *statements: str, create: bool = False) -> list[str]:
    """The database's description of its schema after these statements. With `create`, the tables are first created from
    the metadata."""
    engine = make_engine(url)
    with write_transaction(engine) as connection:
        if create:
            schema.metadata.create_all(connection)
        for statement in statements:
            connection.exec_driver_sql(statement)
        found = described(connection)
    engine.dispose()
    return found


def test_the_migrated_schema_equals_the_metadata_for_the_database(empty_url: str, other_empty_url: str) -> None:
    """As the database describes them: types, defaults, NOT NULL, keys, constraints, indexes, order of columns."""
    migrate.upgrade(empty_url)
    migrated = schema_of(empty_url)
    assert any("one_active_key_per_account_region" in line for line in migrated)
    assert migrated == schema_of(other_empty_url, create=True)


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE leases ADD COLUMN remark TEXT",),
        ("DROP INDEX unique_denial_id", "CREATE INDEX unique_denial_id ON denials (id)"),
        (
            "DROP INDEX one_open_step_per_kind",
            "CREATE UNIQUE INDEX one_open_step_per_kind ON key_journal (kind, key_id, region)",
        ),
        ("ALTER TABLE leases DROP COLUMN expires_at", "ALTER TABLE leases ADD COLUMN expires_at TEXT"),
        (
            "ALTER TABLE leases DROP COLUMN expires_at",
            "ALTER TABLE leases ADD COLUMN expires_at DOUBLE PRECISION NOT NULL DEFAULT 0",
        ),
    ],
    ids=["an additional column", "not unique", "without the condition", "another type", "a default"],
)
def test_the_comparison_detects_a_difference(migrated_url: str, statements: tuple[str, ...]) -> None:
    migrated = schema_of(migrated_url)
    assert schema_of(migrated_url, *statements) != migrated


def test_the_initial_rows_are_complete(store: Store) -> None:
    """The database has no defaults that could fill in values that the first migration omits."""
    found = store.deployment.read()
    assert (found.control_plane, found.account, found.max_ttl_seconds) == (None, None, 3600)
    assert (found.key_propagation_seconds, found.key_max_age_seconds, found.key_standby) == (30, None, True)
    assert store.deployment.subject_keys() == []
    versions = store.versions.read().by_name()
    assert len({version.tag for version in versions.values()}) == len(versions) == 5
    store.versions.check_history(versions)
    with read_transaction(store.engine) as connection:
        names = set(connection.execute(sa.select(schema.versions.c.name)).scalars())
    assert names == {*versions, "revocations", "audit"} == set(get_args(changes.VersionName))


def test_the_revisions_equal_those_in_the_folder() -> None:
    config = Config()
    config.set_main_option("script_location", "tokensvc.storage:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(migrate.REVISIONS))


def test_an_upgrade_to_the_next_revision_keeps_the_data(store: Store, store_url: str) -> None:
    add_key(store, "k1", HERE)
    before = (store.deployment.read(), store.keys.list())
    assert next_version.upgrade(store_url) == (migrate.HEAD, next_version.REVISION)
    assert next_version.upgrade(store_url) == (next_version.REVISION, next_version.REVISION)
    with next_version.installed():
        newer = open_store(store_url)
        assert (newer.deployment.read(), newer.keys.list()) == before
        newer.close()
    with pytest.raises(SchemaMismatch, match="0004_next of a newer version"):
        open_store(store_url)


def test_an_empty_database_is_upgraded_through_every_revision(empty_url: str) -> None:
    assert next_version.upgrade(empty_url) == (None, next_version.REVISION)


def test_one_of_two_concurrent_upgrades_to_the_next_revision_does_it(migrated_url: str, racers: Racers) -> None:
    with next_version.installed():
        outcomes = racers.race(migrated_url, "upgrade_to_next_version", 0)
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert {outcome.value for outcome in outcomes} == {migrate.REVISIONS[-2], next_version.REVISION}
        store = open_store(migrated_url)
        assert store.versions.read().keys.number == 1, "the changes were made only once"
        store.close()


def test_a_killed_upgrade_changes_nothing(migrated_url: str) -> None:
    before = schema_of(migrated_url)
    program = f"from tests.storage import next_version\nnext_version.upgrade({migrated_url!r})\n"
    environ = {**os.environ, next_version.KILL: "yes"}
    killed = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (migrate.current(migrated_url), schema_of(migrated_url)) == (migrate.HEAD, before)
    store = open_store(migrated_url)
    assert store.versions.read().keys.number == 0
    store.close()
    assert next_version.upgrade(migrated_url) == (migrate.HEAD, next_version.REVISION)


@pytest.mark.parametrize("revision", prerelease.REVISIONS)
def test_a_store_of_a_development_version_is_rejected_and_unchanged(empty_url: str, revision: str) -> None:
    prerelease.restore(empty_url, revision)
    before = contents(empty_url)
    for use in (open_store, migrate.upgrade, next_version.upgrade):
        with pytest.raises(SchemaMismatch, match=f"schema {revision} of a development version") as failed:
            use(empty_url)
        assert "move the old database away, then run `tokensvc db upgrade`" in failure_text(failed.value)
        assert failed.value.code == "schema_mismatch"
        assert failed.value.remedy == Remedy(Action.CREATE_NEW_STORE)
    assert contents(empty_url) == before


def contents(url: str) -> tuple[list[str], dict[str, list[Any]]]:
    """The schema and every row of every table."""
    engine = make_engine(url)
    with read_transaction(engine) as connection:
        names = sorted(sa.inspect(connection).get_table_names())
        rows = {name: sorted(map(repr, connection.execute(sa.text(f'SELECT * FROM "{name}"')))) for name in names}
        found = described(connection), rows
    engine.dispose()
    return found


def test_a_store_of_this_version_is_accepted(store: Store) -> None:
    migrate.check(store.engine)


def test_an_empty_store_is_rejected(empty_url: str) -> None:
    make_engine(empty_url).dispose()  # creates the file on SQLite
    assert migrate.current(empty_url) is None
    with pytest.raises(SchemaMismatch) as failed:
        open_store(empty_url)
    assert "is empty; run `tokensvc db upgrade`" in failure_text(failed.value)


def test_a_store_of_an_older_version_is_rejected(store_url: str) -> None:
    """Simulated with a second revision."""
    with (
        next_version.installed(),
        pytest.raises(SchemaMismatch) as failed,
    ):
        open_store(store_url)
    assert "0003_single_uses of an older version; run `tokensvc db upgrade`" in failure_text(failed.value)


def test_a_store_of_a_newer_version_is_rejected_and_unchanged(store_url: str) -> None:
    set_revision(store_url, "9999")
    with pytest.raises(SchemaMismatch, match="9999 of a newer version"):
        open_store(store_url)
    with pytest.raises(SchemaMismatch, match="9999"):
        migrate.upgrade(store_url)
    assert migrate.current(store_url) == "9999"


def test_opening_a_store_does_not_load_alembic(sqlite_url: str) -> None:
    program = f"import sys\nfrom tokensvc.storage.store import open_store\nopen_store({sqlite_url!r}).close()\n"
    ran = subprocess.run(
        [sys.executable, "-c", program + "print('alembic' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"


def test_a_store_of_the_first_version_is_upgraded_with_its_data(store: Store, store_url: str) -> None:
    """The later revisions are undone by hand, since revisions only go forward."""
    add_key(store, "k1", HERE)
    store.close()
    undo = (
        "DROP TABLE single_uses",
        "DROP TABLE audit_records",
        "DROP TABLE audit_key",
        "DELETE FROM versions WHERE name = 'audit'",
        "DROP INDEX one_caller_per_issuer_and_audience",
        *(f"ALTER TABLE callers DROP COLUMN {column}" for column in ("issuer", "audience")),
        *(f"ALTER TABLE caller_secrets DROP COLUMN {column}" for column in ("last_used_at", "last_used_from")),
        """INSERT INTO callers (name, policy, created_at)
           VALUES ('shop', '{"channels": ["*"], "namespace": "shop"}', '2026-01-02 03:04:05.000000')""",
    )
    schema_of(store_url, *undo)
    set_revision(store_url, "0001_baseline")
    with pytest.raises(SchemaMismatch, match="0001_baseline of an older version"):
        open_store(store_url)
    assert migrate.upgrade(store_url) == ("0001_baseline", migrate.HEAD)
    upgraded = open_store(store_url)
    assert upgraded.callers.get("shop").policy == CallerPolicy(("*",), namespace="shop")
    assert [key.id for key in upgraded.keys.list()] == ["k1"]
    assert len(upgraded.audit.digest_key()) == 32
    assert upgraded.audit.list(AuditFilter(), limit=10) == []
    assert upgraded.single_uses.spend(b"digest")
    upgraded.close()
