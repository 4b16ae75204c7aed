"""Parsing of keys that `openssl` and `ssh-keygen` write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.key_formats import is_same_key, sec1
from tokensvc.errors import InvalidKey
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys.key_import import parse_private_key

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
SECRET = b"secret"
ENCRYPTS = ["-passout", "pass:secret"]


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        (["ec"], "a SEC1 private key in PEM"),
        (["ec", "-no_public"], "a SEC1 private key in PEM"),
        (["ec", "-conv_form", "compressed"], "a SEC1 private key in PEM"),
        (["ec", "-param_enc", "explicit"], "a SEC1 private key in PEM"),
        (["ec", "-outform", "DER"], "a SEC1 private key in DER"),
        (["ec", "-aes128", *ENCRYPTS], "an encrypted SEC1 private key in PEM"),
        (["ec", "-aes256", *ENCRYPTS], "an encrypted SEC1 private key in PEM"),
        (["ec", "-des3", *ENCRYPTS], "an encrypted SEC1 private key in PEM"),
        (["pkcs8", "-topk8", "-nocrypt"], "a PKCS#8 private key in PEM"),
        (["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], "a PKCS#8 private key in DER"),
        (["pkcs8", "-topk8", *ENCRYPTS], "an encrypted PKCS#8 private key in PEM"),
        (["pkcs8", "-topk8", "-outform", "DER", *ENCRYPTS], "an encrypted PKCS#8 private key in DER"),
        (["pkcs8", "-topk8", "-v2", "des3", *ENCRYPTS], "an encrypted PKCS#8 private key in PEM"),
        (["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", *ENCRYPTS], "an encrypted PKCS#8 private key in PEM"),
        (["pkcs8", "-topk8", "-scrypt", *ENCRYPTS], "an encrypted PKCS#8 private key in PEM"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_form_that_openssl_writes_is_parsed(
    private_key: PrivateKey, arguments: list[str], description: str
) -> None:
    parsed = parse_private_key(openssl(*arguments, stdin=sec1(private_key)), SECRET)
    assert is_same_key(parsed.private_key, private_key)
    assert parsed.description == description


def test_a_key_generated_as_in_the_user_guide_is_parsed_with_its_parameters() -> None:
    pem = openssl("ecparam", "-name", "secp384r1", "-genkey")
    assert b"EC PARAMETERS" in pem
    assert parse_private_key(pem).description == "a SEC1 private key in PEM, with other text around it"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["genrsa", "-traditional", "1024"], "an RSA private key"),
        (["genrsa", "1024"], "an RSA key"),
        (["genrsa", "-aes128", "-passout", "pass:secret", "1024"], "an RSA key"),
        (["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:1024"], "an RSA key"),
        (["genpkey", "-algorithm", "ED25519"], "an Ed25519 key"),
        (["genpkey", "-algorithm", "X448"], "an X448 key"),
        (["ecparam", "-name", "prime256v1", "-genkey"], r"an EC key on P-256 \(secp256r1\)"),
        (["ecparam", "-name", "secp521r1", "-genkey"], r"an EC key on P-521 \(secp521r1\)"),
        (["ecparam", "-name", "brainpoolP384r1", "-genkey"], "an EC key on brainpoolP384r1"),
        (["ecparam", "-name", "sect283k1", "-genkey"], "on a curve or of a kind that is not supported"),
        (["ecparam", "-name", "secp384r1"], "EC parameters without a key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_kinds_of_keys_are_rejected_by_name(arguments: list[str], words: str) -> None:
    with pytest.raises(InvalidKey, match=f"this .*{words}"):
        parse_private_key(openssl(*arguments), SECRET)


def test_an_unsupported_cipher_is_not_reported_as_a_wrong_passphrase(private_key: PrivateKey) -> None:
    for arguments in (["ec", "-camellia256"], ["pkcs8", "-topk8", "-v2", "camellia256"]):
        pem = openssl(*arguments, *ENCRYPTS, stdin=sec1(private_key))
        with pytest.raises(InvalidKey, match="cipher that is not supported"):
            parse_private_key(pem, SECRET)
        converted = openssl("pkcs8", "-topk8", "-v2", "aes256", "-passin", "pass:secret", *ENCRYPTS, stdin=pem)
        assert is_same_key(parse_private_key(converted, SECRET).private_key, private_key)


def test_an_encryption_that_openssl_rejects_is_rejected(private_key: PrivateKey) -> None:
    """The cost of scrypt must be a power of two; this one is not."""
    data = openssl("pkcs8", "-topk8", "-scrypt", "-outform", "DER", *ENCRYPTS, stdin=sec1(private_key))
    cost = bytes.fromhex("02024000")
    assert cost in data
    with pytest.raises(InvalidKey, match="damaged or needs too many resources"):
        parse_private_key(data.replace(cost, bytes.fromhex("02025000")), SECRET)


def test_the_suggested_conversion_of_pkcs12_works(private_key: PrivateKey, tmp_path: Path) -> None:
    key, bundle = tmp_path / "key.pem", tmp_path / "bundle.p12"
    key.write_bytes(sec1(private_key))
    openssl("pkcs12", "-export", "-nocerts", "-inkey", str(key), "-out", str(bundle), "-name", "ivs", *ENCRYPTS)
    with pytest.raises(InvalidKey, match="openssl pkcs12 -in FILE -nocerts"):
        parse_private_key(bundle.read_bytes(), SECRET)
    pem = openssl("pkcs12", "-in", str(bundle), "-nocerts", "-passin", "pass:secret", *ENCRYPTS)
    parsed = parse_private_key(pem, SECRET)
    assert is_same_key(parsed.private_key, private_key)
    assert parsed.description == "an encrypted PKCS#8 private key in PEM, with other text around it"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_the_suggested_conversion_of_an_openssh_key_works(tmp_path: Path) -> None:
    file = tmp_path / "key"
    run = ["ssh-keygen", "-q", "-f", str(file)]
    subprocess.run([*run, "-t", "ecdsa", "-b", "384", "-N", ""], check=True)
    with pytest.raises(InvalidKey, match="ssh-keygen -p -m PKCS8 -f FILE"):
        parse_private_key(file.read_bytes())
    with pytest.raises(InvalidKey, match="an OpenSSH public key"):
        parse_private_key(file.with_suffix(".pub").read_bytes())
    subprocess.run([*run, "-p", "-m", "PKCS8", "-P", "", "-N", ""], check=True)
    assert parse_private_key(file.read_bytes()).description == "a PKCS#8 private key in PEM"
    subprocess.run([*run, "-p", "-m", "PKCS8", "-P", "", "-N", "secret"], check=True)
    assert parse_private_key(file.read_bytes(), SECRET).description == "an encrypted PKCS#8 private key in PEM"
