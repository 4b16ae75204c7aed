"""`tokensvc keys generate`, `list`, `show`, `public`, `rotate`: the life of a key, and the settings it needs."""

from __future__ import annotations

import secrets
import stat
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cli.terminal import Accounts, Terminal
from tokensvc.clock import SystemClock
from tokensvc.container import service
from tokensvc.jose.keypair import fingerprint

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9"


def _states(terminal: Terminal) -> list[str]:
    return [there["state"] for key in terminal("keys", "list", "--json").json["keys"] for there in key["placements"]]


def test_generate_activates_a_key_and_never_prints_the_private_key(terminal: Terminal) -> None:
    result = terminal("keys", "generate", "--json")
    (place,) = result.json["placements"]
    assert (place["state"], place["region"]) == ("active", "us-east-1")
    assert "IVS holds key" in result.err, "progress goes to standard error"
    (file,) = terminal.vault.iterdir()
    assert file.name == f"{result.json['id']}.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in file.read_bytes()
    assert "PRIVATE KEY" not in result.out + result.err
    (listed,) = terminal("keys", "list", "--json").json["keys"]
    assert (listed["id"], listed["fingerprint"]) == (result.json["id"], result.json["fingerprint"])
    row = terminal("keys", "list").out.splitlines()[1].split()
    assert row[:3] == [result.json["id"], "us-east-1", "active"]


def test_a_draining_key_is_shown_with_the_end_of_the_drain(terminal: Terminal) -> None:
    key = terminal("keys", "generate", "--json").json["id"]
    terminal("keys", "rotate")
    place = next(k for k in terminal("keys", "list", "--json").json["keys"] if k["id"] == key)["placements"][0]
    assert place["state"] == "retiring"
    for command in (("keys", "list"), ("keys", "show", key)):
        result = terminal(*command).out
        assert "DRAINED" not in result, "an instant in the future"
        assert "DRAINS UNTIL" in result
        assert place["drainsAt"] in result


def test_show_says_that_older_steps_are_left_out_and_how_to_get_them(terminal: Terminal) -> None:
    key = terminal("keys", "generate", "--json").json["id"]
    whole = terminal("keys", "show", key, "--json")
    steps = len(whole.json["history"])
    assert not whole.json["historyTruncated"]
    assert "Older steps" not in whole.err
    cut = terminal("keys", "show", key, "--json", "--max-results", str(steps - 1))
    assert cut.json["history"] == whole.json["history"][:-1]
    assert cut.json["historyTruncated"]
    assert "Older steps of its history are left out: raise --max-results." in cut.err
    assert "Older steps" not in terminal("keys", "show", key, "--max-results", str(steps)).err


def test_generate_explains_why_it_creates_a_second_key(terminal: Terminal) -> None:
    terminal("db", "upgrade", KEY_STANDBY="true")
    result = terminal("keys", "generate")
    first, second = terminal("keys", "list", "--json").json["keys"]
    assert f"generated key {first['id']} (a new active key is needed), fingerprint " in result.err
    assert f"generated key {second['id']} (the policy requires a standby key), fingerprint " in result.err
    standby = f"Key {second['id']} is prepared in us-east-1: a standby for the next rotation (TOKENSVC_KEY_STANDBY)."
    assert standby in result.out.splitlines()
    assert "standby" not in terminal("keys", "generate").out, "a requested key gets no standby in addition"


def test_list_shows_since_when_a_key_has_been_in_its_state(terminal: Terminal) -> None:
    terminal("db", "upgrade", KEY_PROPAGATION_SECONDS="2.5")
    there = terminal("keys", "generate", "--json").json["placements"][0]
    assert there["activatedAt"] > there["importedAt"]
    assert there["since"] == there["activatedAt"]
    assert there["ageSeconds"] in (0, 1)
    assert terminal("keys", "list").out.splitlines()[1].split()[3] == there["activatedAt"]


def test_public_prints_the_key_imported_into_ivs(terminal: Terminal) -> None:
    made = terminal("keys", "generate", "--json").json
    public = serialization.load_pem_public_key(terminal("keys", "public", made["id"]).out.encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert fingerprint(public) == made["fingerprint"]
    for unknown in ("k0", "../k0", "\udcff"):
        assert terminal("keys", "public", unknown, code=1).err.startswith("tokensvc: ")


def test_rotate_retires_the_previous_key_and_stops_at_the_quota_of_three(terminal: Terminal) -> None:
    terminal("keys", "generate")
    second = terminal("keys", "rotate", "--json").json
    assert second["done"] is True
    (region,) = second["regions"]
    assert region["region"] == "us-east-1"
    assert [key["id"] for key in terminal("keys", "list", "--json").json["keys"]] == [
        region["previousKeyId"],
        region["activeKeyId"],
    ]
    assert _states(terminal) == ["retiring", "active"]
    assert "is now active" in terminal("keys", "rotate").out
    rejected = terminal("keys", "rotate", "--json", code=4)
    assert rejected.error["code"] == "key_pair_quota_reached"
    assert rejected.error["message"].count("(ours)") == 3
    assert sorted(_states(terminal)) == ["active", "retiring", "retiring"]


def test_work_interrupted_by_an_ivs_outage_is_completed(terminal: Terminal) -> None:
    terminal("keys", "generate")
    failed = terminal("keys", "generate", "--json", code=1, AWS_ENDPOINT_URL_IVS=NOWHERE)
    assert failed.error["code"] == "control_plane_unavailable"
    _, unfinished = terminal("keys", "list", "--json").json["keys"]
    assert unfinished["placements"] == []
    assert "not imported yet" in terminal("keys", "list").out
    terminal("keys", "rotate")
    assert [key["id"] for key in terminal("keys", "list", "--json").json["keys"]][1:] == [unfinished["id"]]
    assert _states(terminal) == ["retiring", "active"]


def test_generate_can_be_repeated_after_an_ivs_outage(terminal: Terminal) -> None:
    failed = terminal("keys", "generate", "--json", code=1, AWS_ENDPOINT_URL_IVS=NOWHERE)
    assert failed.error["code"] == "control_plane_unavailable"
    assert terminal("keys", "list", "--json").json["keys"] == [], "no key is generated that could not be imported"
    assert terminal("keys", "generate", "--json").json["placements"]


def test_missing_credentials_or_region_are_named(terminal: Terminal) -> None:
    missing = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY"
    assert terminal("keys", "generate", "--json", code=1, without=missing).error["code"] == "control_plane_denied"
    assert "TOKENSVC_REGIONS" in terminal("keys", "generate", code=2, without="AWS_REGION").err
    assert terminal("keys", "generate", "--json", without="AWS_REGION", REGIONS="us-west-2").json["placements"]


def test_a_region_without_ivs_is_rejected_whichever_variable_names_it(terminal: Terminal) -> None:
    result = terminal("keys", "generate", code=2, AWS_REGION="eu-west-2").err
    assert (
        "TOKENSVC_REGIONS: must be set, because Amazon IVS is not available in boto3's default region eu-west-2"
        in result
    )
    assert "us-east-1" in result, "the regions that exist"
    assert "TOKENSVC_REGIONS: mars is not a region" in terminal("keys", "generate", code=2, REGIONS="mars").err
    assert terminal("keys", "list", "--json").json == {"keys": []}


def test_all_missing_required_settings_are_named_together(terminal: Terminal) -> None:
    result = terminal("keys", "generate", code=2, without="TOKENSVC_CONTROL_PLANE TOKENSVC_PASSPHRASE")
    assert "TOKENSVC_CONTROL_PLANE: must be set" in result.err
    assert "TOKENSVC_PASSPHRASE: must be set" in result.err


def test_a_wrong_passphrase_changes_nothing(terminal: Terminal) -> None:
    terminal("keys", "generate")
    wrong = secrets.token_hex(32)
    rejected = terminal("keys", "rotate", "--json", code=1, PASSPHRASE=wrong)
    assert rejected.error["code"] == "wrong_passphrase"
    assert wrong not in rejected.err
    assert _states(terminal) == ["active"]


def test_another_account_or_control_plane_is_rejected(terminal: Terminal, accounts: Accounts) -> None:
    terminal("keys", "generate")
    other = accounts.next()
    environ = {"AWS_ACCESS_KEY_ID": other, "AWS_SECRET_ACCESS_KEY": other}
    assert terminal("keys", "rotate", "--json", code=4, **environ).error["code"] == "foreign_deployment"
    rejected = terminal("keys", "rotate", "--json", code=4, CONTROL_PLANE="aws", without="AWS_ENDPOINT_URL_IVS")
    assert rejected.error["code"] == "foreign_deployment"


def test_a_mismatched_endpoint_is_rejected_before_the_store_is_bound(
    terminal: Terminal,
) -> None:
    assert "AWS_ENDPOINT_URL_IVS" in terminal("keys", "generate", code=2, CONTROL_PLANE="aws").err
    assert terminal("keys", "generate", "--json").json["placements"]


def test_keys_are_dated_by_the_clock_of_the_store_not_of_this_machine(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose clock is a day ahead must not treat a pair as drained that has just started to drain."""

    class Ahead(SystemClock):
        now = staticmethod(lambda: time.time() + 86_400)

    terminal("keys", "generate")
    terminal("keys", "rotate")
    monkeypatch.setattr(service, "SystemClock", Ahead)
    terminal("keys", "rotate")
    assert _states(terminal) == ["retiring", "retiring", "active"]
