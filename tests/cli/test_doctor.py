"""`tokensvc doctor`: each thing that is missing is found, in words that mend it."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.cli.terminal import Terminal


@pytest.fixture
def healthy(terminal: Terminal) -> Terminal:
    """A deployment that lacks nothing."""
    terminal("keys", "generate")
    terminal("callers", "add", "web", "--all-channels")
    return terminal


def bad(terminal: Terminal, **settings: str) -> dict[str, Any]:
    """What is found wrong: by what it is, what was found and what mends it."""
    said = terminal("doctor", "--json", code=1, **settings).json
    assert said["well"] is False
    return {f["what"]: (f["found"], f["mend"]) for f in said["findings"] if not f["well"]}


def test_a_healthy_deployment_is_well_and_nothing_is_changed(healthy: Terminal) -> None:
    before = healthy("keys", "list").out, healthy("callers", "list").out
    said = healthy("doctor", "--json").json
    assert said["well"] is True
    assert all(finding["well"] for finding in said["findings"])
    words = healthy("doctor").out
    assert "BAD" not in words
    assert "1 of 3 key slots used" in words
    assert (healthy("keys", "list").out, healthy("callers", "list").out) == before


def test_nothing_is_set(bare: Terminal) -> None:
    missing = {"TOKENSVC_CONTROL_PLANE", "TOKENSVC_DATABASE_URL", "TOKENSVC_PASSPHRASE"}
    found = bad(bare, without=" ".join(missing))
    assert found.keys() >= missing
    assert all(f"export {variable}" in found[variable][1] for variable in missing)


def test_a_setting_is_bad_or_unknown(bare: Terminal) -> None:
    found = bad(bare, PROT="1", WORKERS="0")
    assert "TOKENSVC_PORT" in found["TOKENSVC_PROT"][0]
    assert "TOKENSVC_WORKERS" in found


def test_there_is_no_store(bare: Terminal) -> None:
    assert bad(bare)["store"][1] == "tokensvc db upgrade"
    bare.store.touch()
    assert bad(bare)["store"][1] == "tokensvc db upgrade"


def test_the_store_is_another_control_plane_s(healthy: Terminal) -> None:
    found = bad(healthy, CONTROL_PLANE="aws")
    assert "TOKENSVC_CONTROL_PLANE=local" in found["store"][1]


def test_the_ceiling_is_not_the_store_s(healthy: Terminal) -> None:
    assert bad(healthy, MAX_TTL_SECONDS="60")["TOKENSVC_MAX_TTL_SECONDS"][1] == "tokensvc db upgrade"


def test_the_passphrase_is_wrong(healthy: Terminal) -> None:
    assert "is not the passphrase" in bad(healthy, PASSPHRASE=secrets.token_hex(32))["wrapping keys"][0]


def test_there_is_no_key_and_no_caller(terminal: Terminal) -> None:
    found = bad(terminal)
    assert found["key in us-east-1"][1] == "tokensvc keys generate"
    assert found["callers"][1].startswith("tokensvc callers add")


def test_every_caller_is_disabled(healthy: Terminal) -> None:
    healthy("callers", "disable", "web", "--yes")
    assert bad(healthy).keys() == {"callers"}


def test_a_private_key_is_gone_or_open_to_others(healthy: Terminal) -> None:
    (file,) = healthy.vault.iterdir()
    file.chmod(0o644)
    ((what, (found, _)),) = bad(healthy).items()
    assert what == f"private key {file.stem}"
    assert f"chmod 600 {file}" in found
    file.unlink()
    assert "there is no private key" in bad(healthy)[what][0]


def test_ivs_does_not_answer_or_refuses(healthy: Terminal) -> None:
    assert bad(healthy, AWS_ENDPOINT_URL_IVS="http://127.0.0.1:9").keys() == {"IVS in us-east-1"}
    found, mend = bad(healthy, AWS_SECRET_ACCESS_KEY="wrong")["IVS in us-east-1"]
    assert "InvalidSignatureException" in found
    assert "AWS_PROFILE" in mend


def test_no_region_is_named(healthy: Terminal) -> None:
    found, mend = bad(healthy, without="AWS_REGION")["regions"]
    assert "TOKENSVC_REGIONS" in found
    assert "AWS_REGION" in mend


def test_ivs_no_longer_holds_the_key_that_signs(healthy: Terminal) -> None:
    (key,) = healthy("keys", "list", "--json").json["keys"]
    with healthy.ivs() as ivs:
        ivs.delete_playback_key_pair(arn=key["places"][0]["arn"])
    found, mend = bad(healthy)["key in us-east-1"]
    assert "IVS does not hold it" in found
    assert mend == "tokensvc keys rotate"
    healthy("keys", "rotate")
    assert healthy("doctor", "--json").json["well"] is True, "what mends it does mend it"
