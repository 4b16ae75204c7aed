"""Playback key pairs: P-384 alone, three of them, each once."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.ivs.conftest import CallIvs
from tests.ivs.stage import OTHER_ACCOUNT, OTHER_REGION, pem, private_key
from tokensvc.core.keypair import fingerprint
from tokensvc.ivs.refusals import IvsError


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_an_imported_pair_shows_its_fingerprint_and_never_the_key(call: CallIvs) -> None:
    pair = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1), name="mine", tags={"a": "b"})["keyPair"]
    arn = pair.pop("arn")
    assert arn.startswith("arn:aws:ivs:us-west-2:000000000000:playback-key/")
    assert pair == {"name": "mine", "fingerprint": fingerprint(private_key(1).public_key()), "tags": {"a": "b"}}
    assert call("GetPlaybackKeyPair", arn=arn)["keyPair"] == {"arn": arn, **pair}
    assert call("ListPlaybackKeyPairs")["keyPairs"] == [{"arn": arn, "name": "mine", "tags": {"a": "b"}}]


@pytest.mark.parametrize(
    ("material", "what"),
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
def test_every_other_key_is_refused_with_the_name_of_what_it_is(call: CallIvs, material: str, what: str) -> None:
    with pytest.raises(IvsError) as refused:
        call("ImportPlaybackKeyPair", publicKeyMaterial=material)
    assert refused.value.code == "ValidationException"
    assert "'publicKeyMaterial'" in refused.value.message
    assert what in refused.value.message
    assert "AAAA" not in refused.value.message
    assert call("ListPlaybackKeyPairs")["keyPairs"] == []


def test_a_fourth_pair_exceeds_the_quota_of_its_place_alone(call: CallIvs) -> None:
    arns = [call("ImportPlaybackKeyPair", publicKeyMaterial=pem(n))["keyPair"]["arn"] for n in range(3)]
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        call("ImportPlaybackKeyPair", publicKeyMaterial=pem(3))
    for place in (OTHER_REGION, OTHER_ACCOUNT):
        call("ImportPlaybackKeyPair", place, publicKeyMaterial=pem(3))
    assert call("DeletePlaybackKeyPair", arn=arns[0]) == {}
    call("ImportPlaybackKeyPair", publicKeyMaterial=pem(3))


def test_the_same_public_half_twice_is_a_conflict_however_it_is_written(call: CallIvs) -> None:
    arn = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))["keyPair"]["arn"]
    for spelling in (pem(1), pem(1).replace("\n", "\r\n"), pem(1).strip()):
        with pytest.raises(IvsError, match="ConflictException"):
            call("ImportPlaybackKeyPair", publicKeyMaterial=spelling, name="other")
    call("DeletePlaybackKeyPair", arn=arn)
    call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))


def test_names_need_not_be_unique_nor_given(call: CallIvs) -> None:
    for number, name in enumerate(("same", "same")):
        call("ImportPlaybackKeyPair", publicKeyMaterial=pem(number), name=name)
    assert call("ImportPlaybackKeyPair", publicKeyMaterial=pem(2))["keyPair"]["name"] == ""


def test_a_deleted_pair_is_gone(call: CallIvs) -> None:
    arn = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))["keyPair"]["arn"]
    call("DeletePlaybackKeyPair", arn=arn)
    for operation in ("GetPlaybackKeyPair", "DeletePlaybackKeyPair"):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call(operation, arn=arn)
