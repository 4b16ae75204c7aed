"""`tokensvc keys rewrap`: to another passphrase, to AWS KMS and back, for vaults in files and in the store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.support.moto_kms import MotoKms, moto_kms

pytestmark = pytest.mark.slow

NEW = secrets.token_hex(32)
Settings = dict[str, Any]


@pytest.fixture(scope="module")
def kms() -> Iterator[MotoKms]:
    with moto_kms() as running:
        yield running


@pytest.fixture(params=["files", "store"])
def seeded(request: pytest.FixtureRequest, terminal: Terminal) -> Terminal:
    """A deployment with two private keys and a caller."""
    if request.param == "store":
        terminal.environ["TOKENSVC_VAULT"] = "store"
    terminal("keys", "generate")
    terminal("keys", "rotate")
    terminal("callers", "add", "web", "--all-channels")
    return terminal


def failed_checks(terminal: Terminal, **settings: str) -> dict[str, tuple[str, str]]:
    findings = terminal("doctor", "--json", code=1, **settings).json["findings"]
    return {f["check"]: (f["detail"], f["fix"]) for f in findings if not f["ok"]}


def test_rewrap_moves_all_secrets_to_a_new_passphrase(seeded: Terminal) -> None:
    both: Settings = {"PASSPHRASE": NEW, "PREVIOUS_PASSPHRASE": seeded.passphrase}
    detail, fix = failed_checks(seeded, **both)["private keys"]
    assert detail.startswith("2 of 2 still encrypted with passphrase:")
    assert fix == "tokensvc keys rewrap"

    planned = seeded("keys", "rewrap", "--dry-run", "--json", **both).json
    assert planned["dryRun"] is True
    assert len(planned["secrets"]) == 2
    assert "2 secrets would be re-encrypted with passphrase:" in seeded("keys", "rewrap", "--dry-run", **both).out
    assert seeded("keys", "rewrap", "--dry-run", "--json", **both).json == planned, "nothing was changed"
    seeded("doctor")  # on the old one alone: the new one is not known to the store yet

    result = seeded("keys", "rewrap", "--json", **both)
    assert result.json == planned | {"dryRun": False}
    assert f"from {planned['secrets'][0]['wrappedBy']} to {planned['current']}" in result.err
    assert not [secret for secret in (NEW, seeded.passphrase, "PRIVATE KEY") if secret in result.out + result.err]

    again = seeded("keys", "rewrap", **both).out
    assert again.startswith("Nothing to do: all secrets are encrypted with passphrase:")
    assert "can be removed from the settings" in again
    seeded("keys", "rewrap", "--detailed-exit-code", code=3, **both)
    findings = seeded("doctor", "--json", **both).json["findings"]
    assert [f["detail"] for f in findings if "can be removed" in f["detail"]]
    seeded("doctor", PASSPHRASE=NEW)
    error = seeded("keys", "rotate", "--json", code=1).error
    assert error["code"] == "wrong_passphrase", "the old passphrase alone is no longer accepted"


def test_a_wrong_previous_passphrase_changes_nothing(seeded: Terminal) -> None:
    wrong: Settings = {"PASSPHRASE": NEW, "PREVIOUS_PASSPHRASE": secrets.token_hex(32)}
    assert seeded("keys", "rewrap", "--json", code=1, **wrong).error["code"] == "wrong_passphrase"
    assert "the passphrase is not the one" in failed_checks(seeded, **wrong)["wrapping keys"][0]
    seeded("doctor")


def test_rewrap_to_kms_and_back(seeded: Terminal, kms: MotoKms) -> None:
    seeded.environ |= {name: value for name, value in kms.environ.items() if name == "AWS_ENDPOINT_URL_KMS"}
    arn = kms.new_key()
    assert failed_checks(seeded, KMS_KEY_ARN=arn)["private keys"][1] == "tokensvc keys rewrap"
    rewrapped = seeded("keys", "rewrap", "--json", KMS_KEY_ARN=arn).json
    assert rewrapped["current"] == f"kms:{arn}"
    assert len(rewrapped["secrets"]) == 2
    alone: Settings = {"without": "TOKENSVC_PASSPHRASE", "KMS_KEY_ARN": arn}
    assert f"encrypting with kms:{arn}" in seeded("doctor", **alone).out
    assert seeded("keys", "rewrap", "--json", **alone).json["secrets"] == []

    back: Settings = {"PREVIOUS_KMS_KEY_ARN": arn}
    assert len(seeded("keys", "rewrap", "--json", **back).json["secrets"]) == 2
    seeded("doctor")


def test_an_unreachable_kms_is_reported_and_changes_nothing(terminal: Terminal, kms: MotoKms) -> None:
    arn = kms.new_key()
    settings: Settings = {
        "KMS_KEY_ARN": arn,
        "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:9",
        "without": "TOKENSVC_PASSPHRASE",
    }
    error = terminal("keys", "generate", "--json", code=1, **settings).error
    assert error["code"] == "wrapping_key_unavailable"
    assert "AWS KMS could not be called" in error["message"]
    there = settings | {"AWS_ENDPOINT_URL_KMS": kms.environ["AWS_ENDPOINT_URL_KMS"]}
    key = terminal("keys", "generate", "--json", **there).json
    detail, _ = failed_checks(terminal, **settings)[f"private key {key['id']}"]
    assert "AWS KMS could not be called to decrypt" in detail


def test_the_store_vault_writes_no_file(terminal: Terminal) -> None:
    terminal.environ["TOKENSVC_VAULT"] = "store"
    terminal("keys", "generate")
    assert not terminal.vault.exists()
    assert "vault: store; 1 private key\n" in terminal("doctor", code=1).out


def test_a_local_directory_vault_is_rejected_with_postgresql(terminal: Terminal) -> None:
    url = "postgresql://tokensvc@127.0.0.1:9/tokensvc"
    error = terminal("keys", "generate", "--json", code=2, DATABASE_URL=url).error
    assert "TOKENSVC_VAULT: must be a vault that every machine can read" in error["message"]
    assert f"`shared-file:{terminal.vault}` if all machines share" in error["message"]
    elsewhere = terminal("keys", "generate", "--json", code=1, DATABASE_URL=url, VAULT=f"shared-file:{terminal.vault}")
    assert elsewhere.error["code"] == "store_unavailable"


def test_private_keys_are_copied_from_files_into_the_store(terminal: Terminal) -> None:
    terminal("keys", "generate")
    [key] = terminal("keys", "list", "--json").json["keys"]
    unknown_file = terminal.vault / "kstranger.pem"
    unknown_file.write_bytes((terminal.vault / f"{key['id']}.pem").read_bytes())
    unknown_file.chmod(0o600)
    there: Settings = {"VAULT": "store"}
    assert f"private key {key['id']}" in failed_checks(terminal, **there)
    move = ("keys", "rewrap", "--from", f"file:{terminal.vault}", "--json")
    assert terminal(*move, "--dry-run", **there).json["copied"] == [key["id"]]
    assert f"private key {key['id']}" in failed_checks(terminal, **there), "nothing was changed"
    assert terminal(*move, **there).json["copied"] == [key["id"]], "and not what the store does not know"
    assert f"private key {key['id']}" not in failed_checks(terminal, **there)
    assert terminal(*move, "--detailed-exit-code", code=3, **there).json["copied"] == []
    terminal("keys", "rotate", **there)


def test_a_private_key_stored_under_another_key_id_is_not_copied(terminal: Terminal) -> None:
    terminal("keys", "generate")
    terminal("keys", "rotate")
    one, two = sorted(terminal.vault.glob("*.pem"))
    two.write_bytes(one.read_bytes())
    result = terminal("keys", "rewrap", "--from", f"file:{terminal.vault}", code=1, VAULT="store")
    assert "belongs to another public key" in result.err


@pytest.mark.parametrize("vault", ["/somewhere", "file:/no/such/directory", "stored"])
def test_an_invalid_source_vault_is_rejected(terminal: Terminal, vault: str) -> None:
    assert "--from: must be `store`" in terminal("keys", "rewrap", "--from", vault, code=2).err
