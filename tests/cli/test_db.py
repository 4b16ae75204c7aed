"""`tokensvc db upgrade`."""

from __future__ import annotations

import sqlite3
import stat

from tests.cli.terminal import Terminal


def test_it_makes_a_store_and_says_so_once(bare: Terminal) -> None:
    made = bare("db", "upgrade", "--json").json
    assert (made["before"], made["maxTtlSeconds"]) == (None, 3600)
    assert stat.S_IMODE(bare.store.stat().st_mode) == 0o600
    again = bare("db", "upgrade", "--json").json
    assert again == {**made, "before": made["after"]}
    assert "is up to date" in bare("db", "upgrade").out


def test_it_writes_the_ceiling_into_the_store(bare: Terminal) -> None:
    bare("db", "upgrade")
    assert bare("db", "upgrade", "--json", MAX_TTL_SECONDS="7200").json["maxTtlSeconds"] == 7200
    assert bare("db", "upgrade", "--json").json["maxTtlSeconds"] == 7200, "unset, it changes nothing"


def test_keys_without_a_lead_are_for_the_local_ivs_alone(bare: Terminal) -> None:
    bare("db", "upgrade", KEY_LEAD_SECONDS="0", MAX_TTL_SECONDS="1800")
    refused = bare("db", "upgrade", "--json", code=4, CONTROL_PLANE="aws", KEY_LEAD_SECONDS="0", MAX_TTL_SECONDS="7200")
    assert refused.error["code"] == "policy_cannot_hold"
    assert "shorter than the 2 s" in refused.error["message"]
    kept = bare("db", "upgrade", "--json", CONTROL_PLANE="aws", KEY_LEAD_SECONDS="2").json
    assert kept["maxTtlSeconds"] == 1800, "what was refused changed nothing"


def test_without_a_store_named_it_is_wrong_use(bare: Terminal) -> None:
    assert "TOKENSVC_DATABASE_URL: must be set" in bare("db", "upgrade", code=2, without="TOKENSVC_DATABASE_URL").err
    assert bare("db", "upgrade", code=2, DATABASE_URL="mysql://x/y").err.startswith("tokensvc: TOKENSVC_DATABASE_URL: ")


def test_a_store_of_a_later_version_is_left_alone(bare: Terminal) -> None:
    bare("db", "upgrade")
    store = sqlite3.connect(bare.store)
    store.execute("UPDATE alembic_version SET version_num = '9999'")
    store.commit()
    store.close()
    for command in (("db", "upgrade"), ("keys", "list")):
        said = bare(*command, "--json", code=1)
        assert said.error["code"] == "store_unfit"
        assert "9999" in said.error["message"]
