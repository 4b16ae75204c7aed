"""Keys in JWK format (RFC 7517, 4; RFC 7518, 6.2): parses private keys, and renders public ones.

Invariants
- The error about a key that is not a P-384 private key says what it is.
- The key is derived from d alone; x and y must be the resulting point.
- A member's value is compared with known words and never repeated in a message.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec

from tokensvc.errors import InvalidKey
from tokensvc.jose.es384 import ALGORITHM, COORDINATE_BYTES, base64url_decode, base64url_encode
from tokensvc.jose.keypair import PrivateKey, PublicKey

_CURVES = ("P-256", "P-521", "secp256k1")
_OCTET_PAIRS = ("Ed25519", "Ed448", "X25519", "X448")
_ONLY = "IVS accepts P-384 (secp384r1) only"


def read_private_jwk(jwk: Mapping[str, object]) -> PrivateKey:
    """The P-384 private key in a JSON object. Raises InvalidKey, saying what the object is instead."""
    if "keys" in jwk:
        raise InvalidKey("this is a JWK set; extract the private key from its `keys`")
    if "kty" not in jwk:
        raise InvalidKey("this is JSON, but not a JWK, and contains no PEM private key")
    if jwk["kty"] != "EC" or jwk.get("crv") != "P-384":
        raise InvalidKey(f"this is {_name(jwk)} as a JWK; {_ONLY}")
    if "d" not in jwk:
        raise InvalidKey("this is a public key as a JWK; the private key (member d) is required")
    x, y, d = (_coordinate(jwk.get(member)) for member in ("x", "y", "d"))
    try:
        key = ec.derive_private_key(d, ec.SECP384R1())
    except ValueError:  # zero, or not below the curve's order
        raise InvalidKey("the member d of this JWK is not a private key of P-384") from None
    point = key.public_key().public_numbers()
    if (point.x, point.y) != (x, y):
        raise InvalidKey("the public and private parts of this JWK do not match: x and y do not belong to d")
    return key


def public_jwk(key_id: str, key: PublicKey) -> dict[str, str]:
    """A public signature key with its id, as a JWK (RFC 7518, section 6.2.1)."""
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-384",
        "use": "sig",
        "alg": ALGORITHM,
        "kid": key_id,
        "x": base64url_encode(numbers.x.to_bytes(COORDINATE_BYTES, "big")).decode(),
        "y": base64url_encode(numbers.y.to_bytes(COORDINATE_BYTES, "big")).decode(),
    }


def _name(jwk: Mapping[str, object]) -> str:
    kty, crv = jwk["kty"], jwk.get("crv")
    if kty == "EC":
        return next((f"an EC key on {curve}" for curve in _CURVES if crv == curve), "an EC key on another curve")
    if kty == "OKP":
        return next((f"an {curve} key" for curve in _OCTET_PAIRS if crv == curve), "an octet key pair")
    return {"RSA": "an RSA key", "oct": "a symmetric key"}.get(str(kty), "a key of an unknown kind")


def _coordinate(value: object) -> int:
    """Raises InvalidKey unless the value is base64url of at most a coordinate's length; some writers omit leading
    zeros."""
    try:
        octets = base64url_decode(value.encode("utf-8")) if isinstance(value, str) else b""
    except ValueError:
        octets = b""
    if not 0 < len(octets) <= COORDINATE_BYTES:
        raise InvalidKey("this JWK is damaged: x, y and d must each have 48 bytes in base64url")
    return int.from_bytes(octets, "big")
