"""Private JWKs are parsed; the error about anything else says what it is."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.key_formats import is_same_key, jwk
from tokensvc.errors import InvalidKey
from tokensvc.jose import keypair
from tokensvc.jose.jwk import read_private_jwk

KEY = keypair.generate()
JWK = jwk(KEY)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def encoded(number: int, size: int = 48) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).decode().rstrip("=")


def test_a_private_jwk_is_parsed_with_any_other_members() -> None:
    assert is_same_key(read_private_jwk(JWK), KEY)
    assert is_same_key(read_private_jwk({**JWK, "kid": "one", "alg": "ES384", "key_ops": ["sign"], "ext": True}), KEY)


def test_leading_zeros_may_be_omitted() -> None:
    key = ec.derive_private_key(7, ec.SECP384R1())
    assert is_same_key(read_private_jwk(jwk(key)), key)
    assert is_same_key(read_private_jwk({**jwk(key), "d": encoded(7, 1)}), key)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"crv": "P-256"}, "an EC key on P-256"),
        ({"crv": "P-521"}, "an EC key on P-521"),
        ({"crv": "secp256k1"}, "an EC key on secp256k1"),
        ({"crv": None}, "an EC key on another curve"),
        ({"kty": "OKP", "crv": "Ed25519"}, "an Ed25519 key"),
        ({"kty": "OKP", "crv": "X448"}, "an X448 key"),
        ({"kty": "OKP", "crv": []}, "an octet key pair"),
        ({"kty": "RSA"}, "an RSA key"),
        ({"kty": "oct"}, "a symmetric key"),
        ({"kty": ["EC"]}, "a key of an unknown kind"),
        ({"keys": [JWK]}, "a JWK set; extract the private key"),
        ({"d": None}, "is damaged"),
        ({"d": ""}, "is damaged"),
        ({"d": 7}, "is damaged"),
        ({"d": "*" * 64}, "is damaged"),
        ({"d": "é" * 64}, "is damaged"),
        ({"x": None}, "is damaged"),
        ({"y": encoded(1, 49)}, "is damaged"),
        ({"x": JWK["y"]}, "public and private parts of this JWK do not match"),
        ({"y": JWK["x"]}, "public and private parts of this JWK do not match"),
        ({"d": encoded(0)}, "not a private key of P-384"),
        ({"d": encoded(ORDER)}, "not a private key of P-384"),
        ({"d": encoded(2**384 - 1)}, "not a private key of P-384"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_anything_but_a_complete_p384_key_is_rejected(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidKey, match=message):
        read_private_jwk({**JWK, **changed})


def test_a_public_jwk_is_distinguished_from_other_json() -> None:
    with pytest.raises(InvalidKey, match="a public key as a JWK"):
        read_private_jwk({name: value for name, value in JWK.items() if name != "d"})
    with pytest.raises(InvalidKey, match="not a JWK"):
        read_private_jwk({})
