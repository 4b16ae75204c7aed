"""`tokensvc db upgrade`."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys

import pytest

from tests.cli.terminal import Terminal
from tests.storage import prerelease
from tests.support.deployment import free_port

pytestmark = pytest.mark.slow


def test_upgrade_creates_the_database_once(bare: Terminal) -> None:
    created = bare("db", "upgrade", "--json").json
    assert (created["before"], created["maxTtlSeconds"]) == (None, 3600)
    assert stat.S_IMODE(bare.store.stat().st_mode) == 0o600
    again = bare("db", "upgrade", "--json").json
    assert again == {**created, "before": created["after"], "changed": []}
    assert "is up to date" in bare("db", "upgrade").out


def test_upgrade_stores_the_maximum_token_lifetime(bare: Terminal) -> None:
    bare("db", "upgrade")
    assert bare("db", "upgrade", "--json", MAX_TTL_SECONDS="7200").json["maxTtlSeconds"] == 7200
    assert bare("db", "upgrade", "--json").json["maxTtlSeconds"] == 7200, "unset, it changes nothing"


def test_upgrade_reports_changed_limits_with_old_and_new_value(terminal: Terminal) -> None:
    assert "is up to date" in terminal("db", "upgrade").out
    result = terminal("db", "upgrade", MAX_TTL_SECONDS="7200", KEY_MAX_AGE_DAYS="30", KEY_STANDBY="true").out
    assert "The database is up to date" not in result
    assert "TOKENSVC_MAX_TTL_SECONDS changed from 3600 to 7200." in result
    assert "TOKENSVC_KEY_MAX_AGE_DAYS changed from 0 to 30." in result
    assert "TOKENSVC_KEY_STANDBY changed from false to true." in result
    assert "TOKENSVC_KEY_PROPAGATION_SECONDS" not in result
    settings = {"MAX_TTL_SECONDS": "600", "KEY_MAX_AGE_DAYS": "30", "KEY_STANDBY": "true"}
    assert terminal("db", "upgrade", "--json", code=0, stdin="", without="", **settings).json["changed"] == [
        {"setting": "TOKENSVC_MAX_TTL_SECONDS", "from": 7200, "to": 600}
    ]
    assert terminal("db", "upgrade", "--json", code=0, stdin="", without="", **settings).json["changed"] == []


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("MAX_TTL_SECONDS", "999999", "must be at most 604800: a week, because a key pair stays in IVS until"),
        ("MAX_TTL_SECONDS", "0", "must be at least 1"),
        ("KEY_PROPAGATION_SECONDS", "999999", "must be at most 86400: a day, because no new key signs"),
        ("KEY_PROPAGATION_SECONDS", "-1", "must be at least 0"),
        ("KEY_MAX_AGE_DAYS", "999999", "must be at most 3650: ten years; set 0 to rotate keys only on request"),
        ("KEY_MAX_AGE_DAYS", "nan", "must be at least 0"),
        ("KEY_STANDBY", "999999", "must be true or false"),
    ],
)
def test_a_limit_out_of_range_is_rejected_with_the_rule(terminal: Terminal, name: str, value: str, rule: str) -> None:
    before = terminal("settings", "--json").json
    assert f"TOKENSVC_{name}: {rule}" in terminal("db", "upgrade", code=2, stdin="", without="", **{name: value}).err
    assert terminal("settings", "--json").json == before


def test_zero_propagation_delay_is_accepted_for_the_local_ivs_only(bare: Terminal) -> None:
    bare("db", "upgrade", KEY_PROPAGATION_SECONDS="0", MAX_TTL_SECONDS="1800")
    rejected = bare(
        "db", "upgrade", "--json", code=4, CONTROL_PLANE="aws", KEY_PROPAGATION_SECONDS="0", MAX_TTL_SECONDS="7200"
    )
    assert rejected.error["code"] == "invalid_rotation_policy"
    assert "workers need up to 2 s to load a new key" in rejected.error["message"]
    accepted = bare("db", "upgrade", "--json", CONTROL_PLANE="aws", KEY_PROPAGATION_SECONDS="2").json
    assert accepted["maxTtlSeconds"] == 1800, "the rejected command changed nothing"


def test_a_missing_or_invalid_database_url_is_wrong_usage(bare: Terminal) -> None:
    assert "TOKENSVC_DATABASE_URL: must be set" in bare("db", "upgrade", code=2, without="TOKENSVC_DATABASE_URL").err
    assert bare("db", "upgrade", code=2, DATABASE_URL="mysql://x/y").err.startswith("tokensvc: TOKENSVC_DATABASE_URL: ")


def test_a_database_of_a_later_version_is_rejected(bare: Terminal) -> None:
    bare("db", "upgrade")
    store = sqlite3.connect(bare.store)
    store.execute("UPDATE alembic_version SET version_num = '9999'")
    store.commit()
    store.close()
    for command in (("db", "upgrade"), ("keys", "list")):
        result = bare(*command, "--json", code=1)
        assert result.error["code"] == "schema_mismatch"
        assert "9999" in result.error["message"]


def test_a_database_of_a_development_version_is_rejected_by_every_command(bare: Terminal) -> None:
    """Every command that needs the store fails; `settings` and `doctor` report the problem and continue."""
    prerelease.restore(bare.environ["TOKENSVC_DATABASE_URL"])
    before = dump(bare)
    what_to_do = "move the old database away, then run `tokensvc db upgrade` to create a new one"
    for command in ("db upgrade", "keys list", "keys generate", "keys rotate", "keys rewrap", "callers list"):
        assert_rejected(bare, command, what_to_do)
    for command in ("callers add web --all-channels", "denials list", "revocations list", "revocations show r1"):
        assert_rejected(bare, command, what_to_do)
    assert what_to_do in bare("settings").out
    found = {finding["check"]: finding for finding in bare("doctor", "--json", code=1).json["findings"]}
    assert "of a development version of tokensvc, which cannot be upgraded" in found["store"]["detail"]
    assert "of a new, empty database" in found["store"]["fix"]
    assert "or move the old database away; then run tokensvc db upgrade" in found["store"]["fix"]
    for command in ("serve", "worker"):
        # A process of its own: what serves configures the log of the whole process.
        environ = bare.environ | {"TOKENSVC_PORT": str(free_port())}
        ended = subprocess.run(
            [sys.executable, "-m", "tokensvc", command], env=environ, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, what_to_do in ended.stderr) == (1, True), ended.stderr
    assert dump(bare) == before

    bare.store.rename(bare.folder / "old.db")
    assert bare("db", "upgrade", "--json").json["before"] is None
    assert bare("keys", "list", "--json").json["keys"] == []


def assert_rejected(terminal: Terminal, command: str, what_to_do: str) -> None:
    result = terminal(*command.split(), "--json", code=1)
    assert result.error["code"] == "schema_mismatch", command
    assert what_to_do in result.error["message"]


def dump(terminal: Terminal) -> list[str]:
    store = sqlite3.connect(terminal.store)
    found = list(store.iterdump())
    store.close()
    return found
