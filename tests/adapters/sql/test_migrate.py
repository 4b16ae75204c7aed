"""The schema's history: made once, by one, wholly, and known without alembic."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.adapters.sql.racer import Racers
from tests.adapters.sql.samples import AT, CHANNEL, EVERYONE, FAR
from tokensvc.adapters.sql import changes, migrate, tables
from tokensvc.adapters.sql.engine import make_engine, reading, writing
from tokensvc.adapters.sql.store import Store, open_store
from tokensvc.cli.remedies import failure_text
from tokensvc.core.denial import Standing, digest
from tokensvc.core.wrapping import PassphraseKey
from tokensvc.errors import Conflict, StoreError, StoreUnfit, SubjectKeyLost
from tokensvc.ports.known_wrappings import KnownWrapping
from tokensvc.ports.versions import Position


def set_revision(url: str, revision: str) -> None:
    engine = make_engine(url)
    with writing(engine) as connection:
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


def test_no_two_deployments_are_alike(sqlite_url: str, postgres_url: str) -> None:
    first, second = open_store(sqlite_url), open_store(postgres_url)
    ours, theirs = first.deployment.read(), second.deployment.read()
    assert ours.id != theirs.id
    assert ours.passphrase_salt != theirs.passphrase_salt
    first.close()
    second.close()


def test_of_two_who_upgrade_at_once_one_makes_the_store(empty_url: str, racers: Racers) -> None:
    outcomes = racers.race(empty_url, "upgrade", 0)
    assert [outcome.failure for outcome in outcomes] == [None, None]
    assert {outcome.value for outcome in outcomes} == {None, migrate.HEAD}


def test_an_upgrade_that_fails_leaves_nothing(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE leases (x INTEGER)"))
    with pytest.raises(StoreError):
        migrate.upgrade(empty_url)
    with reading(engine) as connection:
        assert sa.inspect(connection).get_table_names() == ["leases"]
    engine.dispose()


def test_the_migrated_schema_is_the_one_in_tables(store: Store) -> None:
    options = {"compare_type": True, "compare_server_default": True}
    with reading(store.engine) as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_the_revisions_are_those_of_the_folder() -> None:
    config = Config()
    config.set_main_option("script_location", "tokensvc.adapters.sql:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(migrate.REVISIONS))


def test_the_passphrase_of_an_older_store_stays_the_right_one(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its check value moves from the deployment's row to the list of wrapping keys, under its name."""
    key = PassphraseKey("0a" * 32, b"salt")
    monkeypatch.setattr(migrate, "HEAD", "0001")
    migrate.upgrade(empty_url)
    engine = make_engine(empty_url)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE deployment SET passphrase_check = :check"), {"check": key.check})
    monkeypatch.undo()
    assert migrate.upgrade(empty_url) == ("0001", migrate.HEAD)
    store = open_store(empty_url)
    assert store.wrappings.list() == [KnownWrapping(key.name, key.check)]
    with pytest.raises(Conflict), writing(store.engine) as connection:  # one row still is all that there can be
        connection.execute(
            sa.text(
                "INSERT INTO deployment (singleton, id, max_ttl_seconds, passphrase_salt) "
                "SELECT 2, id, 60, passphrase_salt FROM deployment"
            )
        )
    store.close()
    engine.dispose()


def test_denials_of_an_older_store_get_ids_that_say_nothing_of_their_viewers(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of viewers who were only revoked get none; everything else stays as it is."""
    monkeypatch.setattr(migrate, "HEAD", "0005")
    migrate.upgrade(empty_url)
    monkeypatch.undo()
    rows = [
        {"digest": digest(CHANNEL, viewer), "denied_until": until, "minimum_version": 7, "number": 1}
        | {"channel": CHANNEL, "over_at": FAR, "caller": "backend", "reason": "", "created_at": 0.0}
        for viewer, until in (("ada", FAR), ("bob", FAR), ("eve", 0))
    ]
    engine = make_engine(empty_url)
    old = sa.table("denials", *(sa.column(name) for name in rows[0]))
    with writing(engine) as connection:
        connection.execute(sa.insert(old), rows)
    assert migrate.upgrade(empty_url) == ("0005", migrate.HEAD)
    store = open_store(empty_url)
    found = store.denials.in_force(EVERYONE, limit=9)
    assert {d.digest for d in found} == {digest(CHANNEL, viewer) for viewer in ("ada", "bob")}
    assert len({d.id for d in found}) == 2
    for denial in found:
        assert re.fullmatch("[0-9a-f]{32}", denial.id)
        assert denial.id != denial.digest.hex()
        store.denials.remove(denial.id, EVERYONE)
    standings = {row.digest: row.standing for row in store.denials.changed_since(Position(), 9).rows}
    assert standings == dict.fromkeys((row["digest"] for row in rows), Standing(0, 7))
    store.close()
    engine.dispose()


def test_a_store_of_this_version_is_fit(store: Store) -> None:
    migrate.check(store.engine)


def test_an_empty_store_is_unfit(empty_url: str) -> None:
    make_engine(empty_url).dispose()  # the file, where it is one
    assert migrate.current(empty_url) is None
    with pytest.raises(StoreUnfit) as failed:
        open_store(empty_url)
    assert "is empty; run `tokensvc db upgrade`" in failure_text(failed.value)


def test_a_store_of_an_older_version_is_unfit(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it will be when there is a second revision."""
    monkeypatch.setattr(migrate, "REVISIONS", ("0000", migrate.HEAD))
    set_revision(store_url, "0000")
    with pytest.raises(StoreUnfit) as failed:
        open_store(store_url)
    assert "0000 of an older version; run `tokensvc db upgrade`" in failure_text(failed.value)


def test_a_store_of_a_newer_version_is_unfit_and_left_alone(store_url: str) -> None:
    set_revision(store_url, "9999")
    with pytest.raises(StoreUnfit, match="9999, which this version of tokensvc does not know"):
        open_store(store_url)
    with pytest.raises(StoreUnfit, match="9999"):
        migrate.upgrade(store_url)
    assert migrate.current(store_url) == "9999"


def test_opening_a_store_does_not_load_alembic(sqlite_url: str) -> None:
    program = f"import sys\nfrom tokensvc.adapters.sql.store import open_store\nopen_store({sqlite_url!r}).close()\n"
    ran = subprocess.run(
        [sys.executable, "-c", program + "print('alembic' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"


def upgraded(url: str, monkeypatch: pytest.MonkeyPatch, *statements: sa.Executable) -> Store:
    """A store of the schema before, changed by these statements, brought to the newest."""
    monkeypatch.setattr(migrate, "HEAD", "0005")
    migrate.upgrade(url)
    engine = make_engine(url)
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(statement)
    engine.dispose()
    monkeypatch.undo()
    assert migrate.upgrade(url) == ("0005", migrate.HEAD)
    return open_store(url)


def test_what_an_older_store_counted_gets_a_tag_and_a_place_in_its_history(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = upgraded(empty_url, monkeypatch, sa.text("UPDATE versions SET n = 20000 WHERE name = 'denials'"))
    found = store.versions.read()
    assert found.denials.number == 20_000
    assert len({version.tag for version in found.by_name().values()}) == 5
    store.versions.check_history(found.by_name())
    store.close()


def test_the_histories_of_a_migrated_store_are_as_long_as_those_that_are_written() -> None:
    migration = importlib.import_module("tokensvc.adapters.sql.migrations.versions.0006_version_tags")
    assert migration.HISTORY_LENGTH == changes.HISTORY_LENGTH


_SUBJECT_KEY = sa.insert(tables.subject_keys).values(version=1, wrapped=b"wrapped", created_at=AT)
_DENIAL = sa.text("INSERT INTO denials VALUES ('0123456789abcdef', 'c', 1, 0, 1, 'b', '', 0, 1)")


@pytest.mark.parametrize(("statements", "is_lost"), [((), False), ((_SUBJECT_KEY, _DENIAL), False), ((_DENIAL,), True)])
def test_an_older_store_with_denials_and_no_subject_key_has_lost_it(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, statements: tuple[sa.Executable, ...], is_lost: bool
) -> None:
    store = upgraded(empty_url, monkeypatch, *statements)
    if is_lost:
        with pytest.raises(SubjectKeyLost):
            store.deployment.subject_keys()
    else:
        assert len(store.deployment.subject_keys()) == len(statements) // 2
    store.close()
