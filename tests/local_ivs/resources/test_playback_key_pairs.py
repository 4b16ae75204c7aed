"""Playback key pairs: only P-384, at most three, each only once."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import OTHER_ACCOUNT, OTHER_REGION, pem, private_key
from tokensvc.jose.keypair import fingerprint
from tokensvc.local_ivs.errors import IvsError


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


@pytest.mark.slow
def test_an_imported_pair_shows_its_fingerprint_but_not_the_key(call: CallIvs) -> None:
    pair = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1), name="mine", tags={"a": "b"})["keyPair"]
    arn = pair.pop("arn")
    assert arn.startswith("arn:aws:ivs:us-west-2:000000000000:playback-key/")
    assert pair == {"name": "mine", "fingerprint": fingerprint(private_key(1).public_key()), "tags": {"a": "b"}}
    assert call("GetPlaybackKeyPair", arn=arn)["keyPair"] == {"arn": arn, **pair}
    assert call("ListPlaybackKeyPairs")["keyPairs"] == [{"arn": arn, "name": "mine", "tags": {"a": "b"}}]


@pytest.mark.parametrize(
    ("material", "description"),
    [
        (spki(ec.generate_private_key(ec.SECP256R1())), "secp256r1"),
        (spki(ec.generate_private_key(ec.SECP521R1())), "secp521r1"),
        (spki(rsa.generate_private_key(65537, 2048)), "an RSA key"),
        (spki(ed25519.Ed25519PrivateKey.generate()), "an Ed25519 key"),
        ("not a key", "not PEM"),
        ("", "not PEM"),
        ("-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----", "damaged"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "a certificate"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", "a SEC1 private key"),
    ],
    ids=["p256", "p521", "rsa", "ed25519", "text", "empty", "damaged", "certificate", "private"],
)
def test_every_other_kind_of_key_is_rejected_by_name(call: CallIvs, material: str, description: str) -> None:
    with pytest.raises(IvsError) as raised:
        call("ImportPlaybackKeyPair", publicKeyMaterial=material)
    assert raised.value.code == "ValidationException"
    assert "'publicKeyMaterial'" in raised.value.message
    assert description in raised.value.message
    assert "AAAA" not in raised.value.message
    assert call("ListPlaybackKeyPairs")["keyPairs"] == []


def pem_block(der: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{base64.encodebytes(der).decode()}-----END PUBLIC KEY-----\n"


def compressed(number: int) -> str:
    """RFC 5480, section 2.2: a point as its x and one octet for y; openssl ec -pubout -conv_form compressed."""
    key = private_key(number).public_key()
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    return pem_block(bytes.fromhex("3046301006072a8648ce3d020106052b81040022033200") + point)


EXPLICIT = """\
-----BEGIN PUBLIC KEY-----
MIIBzDCCAWQGByqGSM49AgEwggFXAgEBMDwGByqGSM49AQECMQD/////////////
/////////////////////////////v////8AAAAAAAAAAP////8wewQw////////
//////////////////////////////////7/////AAAAAAAAAAD////8BDCzMS+n
4j7n5JiOBWvj+C0ZGB2cbv6BQRIDFAiPUBOHWsZWOY2KLtGdKoXI7dPsKu8DFQCj
NZJqoxmieh0AiWpnc6SCes2scwRhBKqHyiK+iwU3jrHHHvMgrXRuHTtii6ebmFn3
QeCCVCo4VQLyXb9VKWw6VF44cnYKtzYX3kqWJixvXZ6Yv5KS3Cn49B29KJoUfOna
MRO18LjACmCxzh1+gZ16Qx18kOoOXwIxAP//////////////////////////////
/8djTYH0Ny3fWBoNskiwp3rs7BlqzMUpcwIBAQNiAATB0axc2aQApNx7byyc2lm1
YPlnFYUG3mi+BD9RKyOS4Zb/7bvjVJY64rW3dahAtZSDimdc4OLjGce9720X0nZc
yIZCDz+5c+36YMK72vyEWYvGCvmUR/Kxv8YUuALS38U=
-----END PUBLIC KEY-----
"""
"""openssl ec -pubout -param_enc explicit: the numbers of P-384 instead of its name."""


@pytest.mark.parametrize(
    ("material", "description"),
    [
        (compressed(1), "compressed"),
        (EXPLICIT, "explicit parameters"),
        (pem(1) + pem(2), "2 PEM blocks"),
        (pem(1) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "2 PEM blocks"),
        ("my key:\n" + pem(1), "text before or after"),
        (pem(1) + "x", "text before or after"),
        (pem(1).replace("KEY-----\n", "KEY-----\nComment: mine\n\n", 1), "damaged"),
        (pem(1).replace("-----END", "====\n-----END"), "damaged"),
        (pem_block(base64.b64decode("".join(pem(1).split("\n")[1:-2])) + b"\0"), "damaged"),
    ],
    ids=["compressed", "explicit", "two", "two types", "text before", "text after", "header", "padding", "longer"],
)
def test_only_a_single_block_in_the_standard_encoding_is_accepted(
    call: CallIvs, material: str, description: str
) -> None:
    """Strict where IVS documents nothing: a key that it might reject is rejected here."""
    with pytest.raises(IvsError) as raised:
        call("ImportPlaybackKeyPair", publicKeyMaterial=material)
    assert raised.value.code == "ValidationException"
    assert description in raised.value.message
    assert call("ListPlaybackKeyPairs")["keyPairs"] == []


def test_the_fingerprint_is_of_the_der_that_was_sent(call: CallIvs) -> None:
    """The rule of a third party's acceptance tests against the live service, computed without our code."""
    der = base64.b64decode("".join(pem(1).split("\n")[1:-2]))
    for material in (pem(1), f"\r\n {pem(1)} \n", pem(1).replace("\n", "\r\n")):
        pair = call("ImportPlaybackKeyPair", publicKeyMaterial=material)["keyPair"]
        assert pair["fingerprint"] == ":".join(f"{octet:02x}" for octet in hashlib.md5(der).digest())
        call("DeletePlaybackKeyPair", arn=pair["arn"])


def test_a_fourth_pair_exceeds_the_quota_of_its_account_and_region(call: CallIvs) -> None:
    arns = [call("ImportPlaybackKeyPair", publicKeyMaterial=pem(n))["keyPair"]["arn"] for n in range(3)]
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        call("ImportPlaybackKeyPair", publicKeyMaterial=pem(3))
    for account_region in (OTHER_REGION, OTHER_ACCOUNT):
        call("ImportPlaybackKeyPair", account_region, publicKeyMaterial=pem(3))
    assert call("DeletePlaybackKeyPair", arn=arns[0]) == {}
    call("ImportPlaybackKeyPair", publicKeyMaterial=pem(3))


def test_importing_the_same_public_key_twice_is_a_conflict(call: CallIvs) -> None:
    arn = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))["keyPair"]["arn"]
    for spelling in (pem(1), pem(1).replace("\n", "\r\n"), pem(1).strip()):
        with pytest.raises(IvsError, match="ConflictException"):
            call("ImportPlaybackKeyPair", publicKeyMaterial=spelling, name="other")
    call("DeletePlaybackKeyPair", arn=arn)
    call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))


def test_names_are_optional_and_not_unique(call: CallIvs) -> None:
    for number, name in enumerate(("same", "same")):
        call("ImportPlaybackKeyPair", publicKeyMaterial=pem(number), name=name)
    assert call("ImportPlaybackKeyPair", publicKeyMaterial=pem(2))["keyPair"]["name"] == ""


def test_a_deleted_pair_is_not_found(call: CallIvs) -> None:
    arn = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))["keyPair"]["arn"]
    call("DeletePlaybackKeyPair", arn=arn)
    for operation in ("GetPlaybackKeyPair", "DeletePlaybackKeyPair"):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call(operation, arn=arn)
