"""`tokensvc keys retire`, `delete` and `compromise`."""

from __future__ import annotations

import pytest

from tests.cli.terminal import Terminal
from tokensvc.cli.keys import retire
from tokensvc.deployment.workers import Heartbeat
from tokensvc.jose import keypair
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG
from tokensvc.storage.store import Store, open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def signing(terminal: Terminal) -> str:
    """The id of the active key."""
    return str(terminal("keys", "generate", "--json").json["id"])


def state(terminal: Terminal, key_id: str) -> str:
    return str(terminal("keys", "show", key_id, "--json").json["placements"][0]["state"])


def opened(terminal: Terminal) -> Store:
    return open_store(f"sqlite:///{terminal.store}")


@pytest.mark.parametrize("verb", ["retire", "delete", "compromise"])
def test_destructive_commands_require_yes_off_a_terminal(terminal: Terminal, signing: str, verb: str) -> None:
    result = terminal("keys", verb, signing, code=2)
    assert "pass --yes" in result.err
    assert state(terminal, signing) == "active"


def test_retire_replaces_an_active_key(terminal: Terminal, signing: str) -> None:
    result = terminal("keys", "retire", signing, "--yes", "--json").json
    assert (result["done"], result["regions"][0]["previousKeyId"]) == (True, signing)
    assert state(terminal, signing) == "retiring"
    assert terminal("keys", "retire", signing, "--yes", "--detailed-exit-code", code=3).out == "Nothing to do.\n"


def test_retire_with_no_wait_leaves_the_rotation_to_the_workers(terminal: Terminal, signing: str) -> None:
    result = terminal("keys", "retire", signing, "--yes", "--no-wait").out
    assert "the workers will carry it out" in result
    assert state(terminal, signing) == "active"
    terminal("keys", "reconcile")
    assert state(terminal, signing) == "retiring"


def test_retiring_a_prepared_key_deletes_its_pair(terminal: Terminal, signing: str) -> None:
    prepared = terminal("keys", "generate", "--json").json["id"]
    terminal("keys", "retire", prepared, "--yes")
    assert (state(terminal, prepared), state(terminal, signing)) == ("retired", "active")


def test_an_active_or_draining_key_is_not_deleted(terminal: Terminal, signing: str) -> None:
    error = terminal("keys", "delete", signing, "--yes", "--json", code=4).error
    assert (error["code"], "tokensvc keys rotate" in error["message"]) == ("conflict", True)
    terminal("keys", "rotate")
    error = terminal("keys", "delete", signing, "--yes", "--json", code=4).error
    drains_at = terminal("keys", "show", signing, "--json").json["placements"][0]["drainsAt"]
    assert f"may be valid in us-east-1 until {drains_at}" in error["message"]


def test_a_foreign_pair_is_not_deleted(terminal: Terminal, signing: str) -> None:
    with terminal.ivs() as ivs:
        material = keypair.public_pem(keypair.generate().public_key())
        arn = ivs.import_playback_key_pair(publicKeyMaterial=material, name="theirs")["keyPair"]["arn"]
        error = terminal("keys", "delete", arn, "--yes", "--json", code=4).error
        assert error["code"] == "key_pair_not_owned"
        assert arn in terminal("keys", "list", "--ivs").out
        (foreign,) = terminal("keys", "list", "--ivs", "--json").json["ivs"][0]["foreign"]
        assert foreign == {"arn": arn, "name": "theirs", "tags": {}}
        assert len(ivs.list_playback_key_pairs()["keyPairs"]) == 2


def test_an_orphaned_pair_is_deleted_by_its_arn(terminal: Terminal, signing: str) -> None:
    del signing
    store = opened(terminal)
    deployment_id = store.deployment.read().id
    store.close()
    with terminal.ivs() as ivs:
        arn = ivs.import_playback_key_pair(
            publicKeyMaterial=keypair.public_pem(keypair.generate().public_key()),
            tags={DEPLOYMENT_TAG: deployment_id, KEY_TAG: "klost"},
        )["keyPair"]["arn"]
        assert "that the store does not have: klost" in terminal("keys", "list", "--ivs").out
        assert terminal("keys", "delete", arn, "--yes", "--json").json == {"deleted": arn}
        assert len(ivs.list_playback_key_pairs()["keyPairs"]) == 1


def test_a_compromise_reports_its_impact_first_and_then_the_result(terminal: Terminal, signing: str) -> None:
    prepared = terminal("keys", "generate", "--json").json["id"]
    preview = terminal("keys", "compromise", signing, "--dry-run").out
    assert f"us-east-1: all tokens that key {signing} signed in the last 3600 s become invalid" in preview
    assert f"key {prepared} takes over immediately" in preview
    assert state(terminal, signing) == "active"
    result = terminal("keys", "compromise", signing, "--yes", "--json")
    assert "become invalid" in result.err
    (region,) = result.json["regions"]
    assert result.json["done"] is True
    assert region["deletedAt"] == region["tokensValidUntil"] >= result.json["compromisedAt"]
    assert result.json["staleWorkers"] == []
    assert (state(terminal, signing), state(terminal, prepared)) == ("compromised", "active")
    shown = terminal("keys", "show", signing).out
    assert "it is compromised" in shown
    with terminal.ivs() as ivs:
        imported = {pair["tags"][KEY_TAG] for pair in ivs.list_playback_key_pairs()["keyPairs"]}
    assert imported == {prepared}


def test_a_compromise_of_the_only_key_reports_the_expected_outage(terminal: Terminal, signing: str) -> None:
    terminal("db", "upgrade", KEY_PROPAGATION_SECONDS="7")
    assert "no token can be signed for about 7 s" in terminal("keys", "compromise", signing, "--dry-run").out
    terminal("db", "upgrade")
    terminal("keys", "compromise", signing, "--yes", "--include-standby")
    _, new = terminal("keys", "list", "--json").json["keys"]
    assert new["placements"][0]["state"] == "active"


def test_a_compromise_reports_how_long_an_undeleted_pair_stays_valid(
    terminal: Terminal, signing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokensvc.keys.retirement.RETRY_PAUSES_SECONDS", (0.0,))
    result = terminal(
        "keys", "compromise", signing, "--yes", "--json", code=1, AWS_ENDPOINT_URL_IVS="http://127.0.0.1:9"
    )
    (region,) = result.json["regions"]
    assert (result.json["done"], region["deletedAt"]) == (False, None)
    assert region["tokensValidUntil"] > result.json["compromisedAt"]
    assert state(terminal, signing) == "compromised"
    assert terminal("keys", "reconcile", "--json").json["changed"] is True
    with terminal.ivs() as ivs:
        assert signing not in {pair["tags"][KEY_TAG] for pair in ivs.list_playback_key_pairs()["keyPairs"]}


def test_a_compromise_names_workers_that_are_not_in_sync(
    terminal: Terminal, signing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retire, "SYNC_TIMEOUT_SECONDS", 0)
    store = opened(terminal)
    behind = store.versions.read().keys.number
    store.workers.record_heartbeat(Heartbeat("deaf:1:f00d", "deaf", 1, 900, behind, 1, undecryptable=(signing,)))
    result = terminal("keys", "compromise", signing, "--yes", "--json").json
    (worker,) = result["staleWorkers"]
    assert worker["workerId"] == "deaf:1:f00d"
    assert worker["until"] > result["compromisedAt"]
    shown = terminal("keys", "show", signing)
    assert "Worker deaf:1:f00d may use an older key set until" in shown.out
    assert "Worker deaf:1:f00d cannot decrypt the private key" in shown.out
    number, tag = store.versions.read().keys
    store.workers.record_heartbeat(Heartbeat("deaf:1:f00d", "deaf", 1, 900, number, 1, keys_tag=tag))
    assert "All workers are in sync." in terminal("keys", "show", signing).out
    store.close()
