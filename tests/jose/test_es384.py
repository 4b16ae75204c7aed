"""ES384: one encoding of each token, raw signatures, and a verifier that is tested with the Wycheproof vectors."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import raw_sign
from tokensvc.jose.es384 import base64url_decode, base64url_encode, digest, jws_compact, signing_input, verify
from tokensvc.jose.keypair import PrivateKey, read_public_der

WYCHEPROOF = Path(__file__).parents[3] / "shared/vectors/ecdsa_secp384r1_sha384_p1363_test.json"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


@given(st.binary())
def test_an_encoded_value_is_decoded(data: bytes) -> None:
    assert base64url_decode(base64url_encode(data)) == data
    assert base64url_encode(data) == base64.urlsafe_b64encode(data).rstrip(b"=")


@given(st.text("ABCDabcd0189-_", max_size=12).map(str.encode))
def test_each_value_has_one_encoding(text: bytes) -> None:
    """Whatever can be decoded is the result of encoding: a token cannot be encoded in another way."""
    try:
        data = base64url_decode(text)
    except ValueError:
        return
    assert base64url_encode(data) == text


@given(st.binary(max_size=12))
def test_any_bytes_are_decoded_or_rejected(text: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert base64url_encode(base64url_decode(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        b"A",
        b"AAAAA",
        b"AA==",
        b"AAA=",
        b"AB",
        b"AAB",
        b"AA+A",
        b"AA/A",
        b"AA A",
        b"AAAA\n",
        b"\nAAAA",
        b"AA\x00A",
        b"AA\xffA",
    ],
)
def test_anything_else_than_an_encoded_value_is_rejected(text: bytes) -> None:
    with pytest.raises(ValueError, match="base64url"):
        base64url_decode(text)


def test_the_signing_input_is_header_and_payload() -> None:
    header, payload = signing_input(b'{"a":1}').split(b".")
    assert json.loads(base64url_decode(header)) == {"alg": "ES384", "typ": "JWT"}
    assert base64url_decode(payload) == b'{"a":1}'


def test_the_compact_form_has_three_segments() -> None:
    signed = signing_input(b"{}")
    token = jws_compact(signed, bytes(96))
    assert token.encode() == signed + b"." + b"A" * 128


def test_only_the_signature_of_this_data_with_this_key_is_valid(private_key: PrivateKey) -> None:
    public, signature = private_key.public_key(), raw_sign(private_key, digest(b"data"))
    assert verify(public, b"data", signature)
    assert not verify(public, b"Data", signature)
    assert not verify(public, b"data", signature[:95])
    assert not verify(public, b"data", signature + b"\0")
    assert not verify(public, b"data", b"")
    assert not verify(public, b"data", bytes(96))
    assert not verify(public, b"data", b"\xff" * 96)
    assert not verify(ec.generate_private_key(ec.SECP384R1()).public_key(), b"data", signature)


def test_a_der_signature_is_invalid_even_with_the_right_length(private_key: PrivateKey) -> None:
    der = private_key.sign(b"data", ec.ECDSA(hashes.SHA384()))
    assert not verify(private_key.public_key(), b"data", der)
    assert not verify(private_key.public_key(), b"data", der[:96])


@pytest.mark.parametrize(
    ("r", "s"), [(0, 0), (0, 1), (1, 0), (ORDER, ORDER), (ORDER, 1), (1, ORDER), (ORDER + 1, ORDER + 1)]
)
def test_numbers_out_of_range_are_invalid(private_key: PrivateKey, r: int, s: int) -> None:
    assert not verify(private_key.public_key(), b"data", r.to_bytes(48, "big") + s.to_bytes(48, "big"))


@pytest.mark.skipif(not WYCHEPROOF.exists(), reason=f"the Wycheproof vectors are not at {WYCHEPROOF}")
def test_every_wycheproof_vector_has_the_expected_result() -> None:
    """All of them, valid and invalid; `acceptable` does not occur in this file."""
    vectors = json.loads(WYCHEPROOF.read_text())
    tested, wrong = 0, []
    for group in vectors["testGroups"]:
        key = read_public_der(bytes.fromhex(group["publicKeyDer"]))
        for test in group["tests"]:
            assert test["result"] in ("valid", "invalid")
            tested += 1
            if verify(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])) != (test["result"] == "valid"):
                wrong.append((test["tcId"], test["comment"]))
    assert not wrong
    assert tested == vectors["numberOfTests"] > 200
