"""Key pairs: P-384 is parsed in every usual format, and errors about other keys name them without showing them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.key_formats import UNSUPPORTED_KEYS, certificate, is_same_key, leaks_nothing, pkcs8, sec1
from tokensvc.errors import InvalidKey, WrongPassphrase
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey

CLOUDFORMATION_SAMPLE = """-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEwOR43ETwEoWif1i14aL8GtDMNkT/kBQm
h4sas9P//bjCU988rmQQXVBfftKT9xngg+W6hzOEpeUlCRlAtz6b6U79naYYRaSk
K/UhYGWkXlbJlc9zn13imYWgVGe/BMFp
-----END PUBLIC KEY-----
"""
"""The public key in AWS CloudFormation's example for AWS::IVS::PlaybackKeyPair. The fingerprint on that page is a
placeholder; the expected one follows the rule that other projects test against the live service."""


def test_a_generated_key_is_p384() -> None:
    assert isinstance(keypair.generate().curve, ec.SECP384R1)


def test_every_usual_format_of_a_private_key_is_parsed(private_key: PrivateKey) -> None:
    for pem in (sec1(private_key), pkcs8(private_key)):
        assert is_same_key(keypair.read_private_pem(pem), private_key)
        assert is_same_key(keypair.read_private_pem(pem.replace(b"\n", b"\r\n")), private_key)
        assert is_same_key(keypair.read_private_pem(pem, b"a passphrase that is not needed"), private_key)
        assert is_same_key(keypair.read_private_pem(b"some text before\n" + pem), private_key)


def test_encrypted_keys_are_parsed_with_their_passphrase(private_key: PrivateKey) -> None:
    for pem in (
        sec1(private_key, b"secret"),
        pkcs8(private_key, b"secret"),
        keypair.private_pem(private_key, b"secret"),
    ):
        assert b"ENCRYPTED" in pem
        assert is_same_key(keypair.read_private_pem(pem, b"secret"), private_key)
        for wrong in (None, b"", b"Secret", b"secret "):
            with pytest.raises(WrongPassphrase) as raised:
                keypair.read_private_pem(pem, wrong)
            assert leaks_nothing(raised.value, pem)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_keys_generated_as_in_the_user_guide_are_parsed(tmp_path: Path) -> None:
    """`openssl ecparam` writes the curve's parameters before the key."""
    pem = subprocess.run(
        ["openssl", "ecparam", "-name", "secp384r1", "-genkey"], check=True, capture_output=True
    ).stdout
    assert b"EC PARAMETERS" in pem
    key = keypair.read_private_pem(pem)
    public = subprocess.run(["openssl", "ec", "-pubout"], input=pem, check=True, capture_output=True).stdout
    assert keypair.public_der(keypair.read_public_pem(public)) == keypair.public_der(key.public_key())


@pytest.mark.parametrize("name", UNSUPPORTED_KEYS)
def test_the_error_about_any_other_key_names_it(name: str) -> None:
    private, public = UNSUPPORTED_KEYS[name], UNSUPPORTED_KEYS[name].public_key()
    reads: list[tuple[bytes, Callable[[bytes], object]]] = [
        (pkcs8(private), keypair.read_private_pem),
        (public.public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), keypair.read_public_pem),
    ]
    for pem, read in reads:
        with pytest.raises(InvalidKey, match=f"this is .*{name}.*P-384") as raised:
            read(pem)
        assert leaks_nothing(raised.value, pem)
    with pytest.raises(InvalidKey, match=name):
        keypair.read_public_der(public.public_bytes(Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.slow
def test_a_dsa_key_is_rejected() -> None:
    with pytest.raises(InvalidKey, match="DSA"):
        keypair.read_private_pem(pkcs8(dsa.generate_private_key(2048)))


def test_the_error_about_an_encrypted_key_of_another_curve_names_it() -> None:
    with pytest.raises(InvalidKey, match="secp256r1"):
        keypair.read_private_pem(pkcs8(UNSUPPORTED_KEYS["secp256r1"], b"secret"), b"secret")


def test_the_error_says_what_was_given_instead_of_a_key(private_key: PrivateKey) -> None:
    public = keypair.public_pem(private_key.public_key()).encode()
    for pem, message in ((certificate(private_key), "a certificate"), (public, "a public key"), (b"hello", "not PEM")):
        with pytest.raises(InvalidKey, match=message):
            keypair.read_private_pem(pem)
    for pem, message in (
        (certificate(private_key), "a certificate"),
        (sec1(private_key), "a SEC1 private key"),
        (b"", "not PEM"),
    ):
        with pytest.raises(InvalidKey, match=message) as raised:
            keypair.read_public_pem(pem)
        assert leaks_nothing(raised.value, pem)


@pytest.mark.parametrize("part", [slice(0, 120), slice(0, -40), slice(40, None)])
def test_a_damaged_key_is_rejected_and_not_shown(private_key: PrivateKey, part: slice) -> None:
    for pem in (sec1(private_key), pkcs8(private_key)):
        with pytest.raises(InvalidKey) as raised:
            keypair.read_private_pem(pem[part])
        assert leaks_nothing(raised.value, pem)


def test_damaged_public_keys_are_rejected(private_key: PrivateKey) -> None:
    pem = keypair.public_pem(private_key.public_key()).encode()
    with pytest.raises(InvalidKey, match="damaged"):
        keypair.read_public_pem(pem[:100] + pem[104:])
    for der in (b"", b"garbage", keypair.public_der(private_key.public_key())[:-1]):
        with pytest.raises(InvalidKey, match="damaged"):
            keypair.read_public_der(der)


def test_a_point_that_is_not_on_the_curve_is_rejected(private_key: PrivateKey) -> None:
    der = bytearray(keypair.public_der(private_key.public_key()))
    der[-1] ^= 1
    with pytest.raises(InvalidKey):
        keypair.read_public_der(bytes(der))


def test_serialized_public_keys_are_parsed_back(private_key: PrivateKey) -> None:
    public = private_key.public_key()
    assert keypair.read_public_pem(keypair.public_pem(public).encode()) == public
    assert keypair.read_public_der(keypair.public_der(public)) == public
    assert keypair.public_pem(public).startswith("-----BEGIN PUBLIC KEY-----\n")
    assert keypair.public_pem(public).endswith("-----END PUBLIC KEY-----\n")


def test_private_keys_are_serialized_only_encrypted(private_key: PrivateKey) -> None:
    pem = keypair.private_pem(private_key, b"secret")
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert pem != keypair.private_pem(private_key, b"secret"), "each has a salt of its own"


def test_the_fingerprint_of_the_published_sample() -> None:
    key = keypair.read_public_pem(CLOUDFORMATION_SAMPLE.encode())
    assert keypair.fingerprint(key) == "ad:7b:32:4a:7b:ab:88:f2:4c:17:36:a2:46:d5:a0:11"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_fingerprint_can_be_computed_with_openssl(private_key: PrivateKey) -> None:
    pem = keypair.public_pem(private_key.public_key()).encode()
    command = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    der = subprocess.run(command, input=pem, check=True, capture_output=True).stdout
    digest = hashlib.md5(der, usedforsecurity=False).hexdigest()
    assert keypair.fingerprint(private_key.public_key()).replace(":", "") == digest
