"""`tokensvc keys import` and `adopt`."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from tests.cli.terminal import Terminal
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG

pytestmark = pytest.mark.slow


@pytest.fixture
def private_key() -> PrivateKey:
    """A private key created elsewhere."""
    return keypair.generate()


def pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def by_hand(ivs: Any, key: PrivateKey, **tags: str) -> str:
    """Import the public key without tokensvc; returns the ARN of the pair."""
    material = keypair.public_pem(key.public_key())
    return str(ivs.import_playback_key_pair(publicKeyMaterial=material, tags=tags)["keyPair"]["arn"])


def test_import_reports_the_input_format_and_never_prints_the_private_key(
    terminal: Terminal, private_key: PrivateKey
) -> None:
    encoded = base64.b64encode(pem(private_key)).decode()
    result = terminal("keys", "import", "-", "--json", stdin=encoded)
    assert result.json["sourceFormat"] == "a PKCS#8 private key in PEM, base64-wrapped"
    assert result.json["fingerprint"] == keypair.fingerprint(private_key.public_key())
    assert result.json["placements"][0]["state"] == "prepared"
    assert "PRIVATE KEY" not in result.out + result.err
    assert f"stored the given key as {result.json['id']}, fingerprint {result.json['fingerprint']}; " in result.err
    assert "generated key" not in result.err
    assert encoded not in result.out + result.err
    assert f"tokensvc keys activate {result.json['id']}" in terminal("keys", "import", "-", stdin=encoded).out
    assert terminal("keys", "import", "-", "--detailed-exit-code", stdin=encoded, code=3).out


def test_an_encrypted_key_is_decrypted_with_a_passphrase_from_a_file(
    terminal: Terminal, private_key: PrivateKey, tmp_path: Path
) -> None:
    passphrase = secrets.token_hex(8)
    key, password = tmp_path / "key.pem", tmp_path / "passphrase"
    key.write_bytes(pem(private_key, passphrase.encode()))
    error = terminal("keys", "import", str(key), "--json", code=1).error
    assert (error["code"], "--passphrase-file" in error["message"]) == ("wrong_passphrase", True)
    password.write_text("not it\n")
    password.chmod(0o600)
    options = "keys", "import", str(key), "--passphrase-file", str(password)
    assert terminal(*options, "--json", code=1).error["code"] == "wrong_passphrase"
    password.write_text(f"{passphrase}\n")
    result = terminal(*options)
    assert "an encrypted PKCS#8 private key" in result.err
    assert passphrase not in result.out + result.err


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o620, 0o601])
def test_an_insecure_passphrase_file_is_rejected_with_the_chmod_command(
    terminal: Terminal, private_key: PrivateKey, tmp_path: Path, mode: int
) -> None:
    passphrase = secrets.token_hex(8)
    key, password = tmp_path / "key.pem", tmp_path / "a passphrase"
    key.write_bytes(pem(private_key, passphrase.encode()))
    password.write_text(passphrase)
    password.chmod(mode)
    command = "keys", "import", str(key), "--passphrase-file", str(password)
    error = terminal(*command, "--json", code=2).error
    assert error["code"] == "invalid_request"
    assert error["message"].startswith("--passphrase-file: ")
    assert error["message"].endswith(f": chmod 600 '{password}'"), "the command that fixes it, to be pasted"
    assert passphrase not in error["message"]
    assert terminal("keys", "list", "--json").json == {"keys": []}
    subprocess.run(["sh", "-c", error["message"].rpartition(": ")[2]], check=True)
    assert terminal(*command, "--json").json["sourceFormat"].startswith("an encrypted PKCS#8 private key")


def test_a_passphrase_can_be_read_from_a_pipe(terminal: Terminal, private_key: PrivateKey, tmp_path: Path) -> None:
    """A shell's `--passphrase-file <(command)`."""
    key = tmp_path / "key.pem"
    key.write_bytes(pem(private_key, b"a long passphrase"))
    reading, writing = os.pipe()
    os.write(writing, b"a long passphrase\n")
    os.close(writing)
    try:
        assert terminal("keys", "import", str(key), "--passphrase-file", f"/dev/fd/{reading}").code == 0
    finally:
        os.close(reading)


@pytest.mark.parametrize("mode", [0o604, 0o640])
def test_an_unencrypted_key_in_an_insecure_file_is_rejected_with_the_chmod_command(
    terminal: Terminal, private_key: PrivateKey, tmp_path: Path, mode: int
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(pem(private_key))
    key.chmod(mode)
    rejected = terminal("keys", "import", str(key), code=2).err
    assert rejected.startswith("tokensvc: FILE: ")
    assert rejected.endswith(f": chmod 600 {key}\n")
    assert terminal("keys", "list", "--json").json == {"keys": []}
    key.chmod(0o600)
    assert terminal("keys", "import", str(key)).code == 0


def test_input_that_is_not_a_private_key_is_rejected(terminal: Terminal, private_key: PrivateKey) -> None:
    public = keypair.public_pem(private_key.public_key())
    error = terminal("keys", "import", "-", "--json", stdin=public, code=1).error
    assert error["code"] == "invalid_key"
    assert "public key" in error["message"]
    assert "longer than" in terminal("keys", "import", "-", stdin="A" * 70_000, code=1).err
    assert terminal("keys", "import", "nowhere.pem", code=2).err
    assert terminal("keys", "list", "--json").json == {"keys": []}


def test_a_key_already_in_ivs_is_adopted(terminal: Terminal, private_key: PrivateKey) -> None:
    with terminal.ivs() as ivs:
        arn = by_hand(ivs, private_key, team="video")
        result = terminal(
            "keys", "import", "-", "--longest-ttl", "7200", "--json", stdin=pem(private_key).decode()
        ).json
        (pair,) = ivs.list_playback_key_pairs()["keyPairs"]
    assert pair["arn"] == arn == result["placements"][0]["arn"]
    assert (pair["tags"][KEY_TAG], pair["tags"]["team"]) == (result["id"], "video")
    assert result["placements"][0]["longestTtlSeconds"] == 7200
    assert f"is active in us-east-1: {arn}" not in terminal("keys", "list").out
    assert "is active in us-east-1" in terminal("keys", "activate", result["id"]).out
    shown = terminal("keys", "show", result["id"]).out
    assert f"an operator requested the adoption of {arn}" in shown


def test_a_named_pair_with_another_fingerprint_is_adopted_and_reported(
    terminal: Terminal, private_key: PrivateKey
) -> None:
    with terminal.ivs() as ivs:
        arn = by_hand(ivs, keypair.generate())
    result = terminal("keys", "import", "-", "--arn", arn, "--json", stdin=pem(private_key).decode())
    assert result.json["placements"][0]["fingerprintDiffers"] is True
    assert "fingerprint" in result.err
    found = terminal("keys", "list", "--ivs").out
    assert f"tokensvc keys activate {result.json['id']}" in found


def test_adopt_accepts_the_pair_named_in_an_error(terminal: Terminal) -> None:
    """The pair lost its tags, and the store was recreated from the key in the vault."""
    made = terminal("keys", "generate", "--json").json
    arn = made["placements"][0]["arn"]
    result = terminal("keys", "adopt", made["id"], "--arn", arn, "--detailed-exit-code", code=3)
    assert arn in result.out
    assert "--arn" in terminal("keys", "adopt", made["id"], code=2).err
    with terminal.ivs() as ivs:
        foreign = by_hand(ivs, keypair.generate())
    error = terminal("keys", "adopt", made["id"], "--arn", foreign, "--json", code=4).error
    assert error["code"] == "conflict"


def test_a_pair_of_another_deployment_is_rejected(terminal: Terminal, private_key: PrivateKey) -> None:
    with terminal.ivs() as ivs:
        arn = by_hand(ivs, private_key, **{DEPLOYMENT_TAG: "another", KEY_TAG: "k1"})
        error = terminal("keys", "import", "-", "--json", stdin=pem(private_key).decode(), code=4).error
        assert error["code"] == "key_pair_not_owned"
        assert ivs.get_playback_key_pair(arn=arn)["keyPair"]["tags"][DEPLOYMENT_TAG] == "another"


def test_every_invalid_arn_is_reported(terminal: Terminal, private_key: PrivateKey) -> None:
    one = "arn:aws:ivs:us-east-1:123456789012:playback-key/"
    arns = ["nonsense", f"{one}a", f"{one}b", "arn:aws:ivs:eu-west-1:123456789012:playback-key/c"]
    result = terminal("keys", "import", "-", *(f"--arn={a}" for a in arns), stdin=pem(private_key).decode(), code=2).err
    assert result.count("--arn: ") == 3
    for rule in ("must have the form", "names two key pairs in us-east-1", "eu-west-1 is not one of us-east-1"):
        assert rule in result
