"""`tokensvc keys rotate`, `reconcile`, `activate`, with and without `--dry-run`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tokensvc.jose import keypair

pytestmark = pytest.mark.slow


@pytest.fixture
def signing(terminal: Terminal) -> str:
    """The id of the active key."""
    return str(terminal("keys", "generate", "--json").json["id"])


def keys(terminal: Terminal) -> Any:
    return terminal("keys", "list", "--json").json["keys"]


def test_a_dry_run_lists_the_steps_and_takes_none(terminal: Terminal, signing: str) -> None:
    terminal("db", "upgrade", KEY_PROPAGATION_SECONDS="40")
    before = keys(terminal)
    result = terminal("keys", "rotate", "--dry-run", "--json").json
    (region,) = result["regions"]
    assert [step["step"] for step in region["steps"]] == ["generate", "import", None, "activate"]
    assert region["steps"][2]["until"]
    generated, imported = (step["key"] for step in region["steps"][:2])
    assert generated == imported, "the new key has the same name in all steps"
    result = terminal("keys", "rotate", "--dry-run").out
    reason = "a new active key is needed"
    assert f"  generate {generated}: {reason}\n  import {generated}: {reason}\n  wait until 20" in result
    assert result.endswith("\nNothing was changed.\n")
    assert [key["id"] for key in keys(terminal)] == [key["id"] for key in before] == [signing]
    assert "nothing to do" in terminal("keys", "reconcile", "--dry-run", "--detailed-exit-code", code=3).out


def test_a_dry_run_that_must_wait_gives_the_reason(terminal: Terminal, signing: str) -> None:
    del signing
    with terminal.ivs() as ivs:
        for _ in range(2):
            public = keypair.public_pem(keypair.generate().public_key())
            ivs.import_playback_key_pair(publicKeyMaterial=public)
    result = terminal("keys", "rotate", "--dry-run").out
    assert "\n  wait: all key slots are in use and none of our keys is draining" in result


def test_a_dry_run_lists_the_steps_that_are_then_taken(terminal: Terminal, signing: str) -> None:
    planned = terminal("keys", "rotate", "--dry-run", "--json").json["regions"][0]["steps"]
    active = terminal("keys", "rotate", "--json").json["regions"][0]["activeKeyId"]
    history = terminal("keys", "show", active, "--json").json["history"]
    assert [step["step"] for step in planned if step["step"]] == [step["step"] for step in reversed(history)]
    assert active != signing


def test_no_wait_leaves_the_rotation_to_the_workers(terminal: Terminal, signing: str) -> None:
    result = terminal("keys", "rotate", "--no-wait", "--json").json
    assert (result["done"], result["regions"][0]["activeKeyId"]) == (False, None)
    assert [key["id"] for key in keys(terminal)] == [signing]
    assert terminal("keys", "reconcile", "--json", "--detailed-exit-code").json["changed"] is True
    assert terminal("keys", "reconcile", "--detailed-exit-code", code=3).out.endswith("Nothing to do.\n")


def test_a_single_region_can_be_rotated(terminal: Terminal) -> None:
    terminal.environ["TOKENSVC_REGIONS"] = "us-east-1,us-west-2"
    made = terminal("keys", "generate", "--json").json
    assert {place["region"]: place["state"] for place in made["placements"]} == {
        "us-east-1": "active",
        "us-west-2": "active",
    }
    result = terminal("keys", "rotate", "--region", "us-west-2", "--json").json
    assert [region["region"] for region in result["regions"]] == ["us-west-2"]
    first = {place["region"]: place["state"] for place in keys(terminal)[0]["placements"]}
    assert first == {"us-east-1": "active", "us-west-2": "retiring"}
    assert (
        "eu-west-1 is not one of us-east-1, us-west-2"
        in terminal("keys", "rotate", "--region", "eu-west-1", code=2).err
    )


def test_activate_makes_a_prepared_key_active(terminal: Terminal, signing: str) -> None:
    prepared = terminal("keys", "generate", "--json").json["id"]
    assert f"Key {prepared} is active in us-east-1." in terminal("keys", "activate", prepared).out
    assert terminal("keys", "activate", prepared, "--detailed-exit-code", code=3).out
    assert [key["placements"][0]["state"] for key in keys(terminal)] == ["retiring", "active"]
    terminal("keys", "activate", signing)
    assert [key["placements"][0]["state"] for key in keys(terminal)] == ["active", "retiring"], (
        "a rotation is taken back"
    )
    terminal("keys", "compromise", prepared, "--yes")
    error = terminal("keys", "activate", prepared, "--json", code=4).error
    assert error["code"] == "concurrent_modification"
    assert terminal("keys", "activate", "k0", "--json", code=1).error["code"] == "key_not_found"


def test_an_invalid_rotation_policy_is_rejected(terminal: Terminal, signing: str) -> None:
    del signing
    error = terminal("db", "upgrade", "--json", code=4, KEY_MAX_AGE_DAYS="0.001").error
    assert error["code"] == "invalid_rotation_policy"
    assert "propagation delay + drain" in error["message"]


def test_a_dry_run_does_not_bind_the_store(terminal: Terminal) -> None:
    """It binds neither a control plane nor a wrapping key."""
    rejected = terminal("keys", "rotate", "--dry-run", "--json", code=2, CONTROL_PLANE="aws")
    assert "AWS_ENDPOINT_URL_IVS" in rejected.err
    assert terminal("keys", "rotate", "--dry-run", "--json").json["regions"]
    terminal("keys", "generate")
    rejected = terminal(
        "keys", "rotate", "--dry-run", "--json", code=4, CONTROL_PLANE="aws", without="AWS_ENDPOINT_URL_IVS"
    )
    assert rejected.error["code"] == "foreign_deployment"
