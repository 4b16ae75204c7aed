"""The JWK set, as any JOSE library reads it."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.asgi_client import response_of, scope_of
from tests.support.clocks import START
from tests.support.tokens import CHANNEL, HEADER, encode_token, keyring_of
from tokensvc.aws.arn import AccountRegion
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.tokens.keyring import EMPTY_KEYRING, Keyring, RegionKeys
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.endpoints.jwks import JwksRoute

pytestmark = pytest.mark.slow


def jwk_set_of(keyring: Keyring) -> dict[str, list[dict[str, str]]]:
    response = response_of(JwksRoute(lambda: Snapshot(keyring=keyring)).jwks, scope_of("GET"), b"")
    assert response.status == 200
    assert (b"cache-control", b"max-age=60") in response.headers
    body: dict[str, list[dict[str, str]]] = json.loads(response.body)
    return body


def test_pyjwt_verifies_a_token_with_a_key_of_the_set(private_key: PrivateKey) -> None:
    token = encode_token(private_key, HEADER, {"aws:channel-arn": str(CHANNEL), "exp": int(START) + 10**9})
    [key] = jwt.PyJWKSet.from_dict(jwk_set_of(keyring_of(private_key))).keys
    assert jwt.decode(token, key, algorithms=["ES384"])["aws:channel-arn"] == str(CHANNEL)


def test_every_imported_key_is_in_the_set_once(private_key: PrivateKey) -> None:
    other = keypair.generate()
    keys = {"k1": private_key.public_key(), "k2": other.public_key()}
    keyring = Keyring(
        {
            CHANNEL.account_region: RegionKeys(None, keys),
            AccountRegion("1", "eu-west-1"): RegionKeys(None, {"k1": keys["k1"]}),
        }
    )
    keys_in_set = jwk_set_of(keyring)["keys"]
    assert [key["kid"] for key in keys_in_set] == ["k1", "k2"]
    assert all(set(key) == {"kty", "crv", "use", "alg", "kid", "x", "y"} for key in keys_in_set), "only public members"


def test_coordinates_keep_their_leading_zeros() -> None:
    for number in range(1, 600):
        key = ec.derive_private_key(number, ec.SECP384R1())
        [jwk] = jwk_set_of(Keyring({CHANNEL.account_region: RegionKeys(None, {"k": key.public_key()})}))["keys"]
        assert len(jwk["x"]) == len(jwk["y"]) == 64


def test_the_set_is_empty_without_keys() -> None:
    assert jwk_set_of(EMPTY_KEYRING) == {"keys": []}
