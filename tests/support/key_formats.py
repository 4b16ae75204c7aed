"""Keys in the formats that other programs write, including unsupported ones."""

from __future__ import annotations

import base64
import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tokensvc.errors import TokensvcError
from tokensvc.jose.keypair import PrivateKey

UNSUPPORTED_KEYS: dict[str, PrivateKeyTypes] = {
    "secp256r1": ec.generate_private_key(ec.SECP256R1()),
    "secp521r1": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "brainpoolP384r1": ec.generate_private_key(ec.BrainpoolP384R1()),
    "an RSA key": rsa.generate_private_key(65537, 2048),
    "an Ed25519 key": ed25519.Ed25519PrivateKey.generate(),
    "an Ed448 key": ed448.Ed448PrivateKey.generate(),
    "an X25519 key": x25519.X25519PrivateKey.generate(),
    "an X448 key": x448.X448PrivateKey.generate(),
}


def pkcs8(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def sec1(key: PrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)


def is_same_key(one: PrivateKey, other: PrivateKey) -> bool:
    return one.private_numbers() == other.private_numbers()


def leaks_nothing(error: TokensvcError, pem: bytes) -> bool:
    """Check that the error contains no line of the PEM's body."""
    text = f"{error.message} {error.detail} {error!r} {error.__cause__} {error.__suppress_context__}"
    return not any(line.decode("latin-1") in text for line in pem.split() if len(line) > 20)


def certificate(key: PrivateKey) -> bytes:
    name, day = x509.Name([]), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA384()).public_bytes(Encoding.PEM)


def certificate_request(key: PrivateKey) -> bytes:
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA384()).public_bytes(Encoding.PEM)


def public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def der(pem: bytes) -> bytes:
    """The bytes that a PEM body encodes; not for a body with headers."""
    return base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-")))


def jwk(key: PrivateKey) -> dict[str, str]:
    """The key as jose libraries write it."""
    numbers = key.private_numbers()
    members = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    encoded = {name: base64.urlsafe_b64encode(n.to_bytes(48, "big")).decode() for name, n in members.items()}
    return {"kty": "EC", "crv": "P-384", **encoded}


def with_other_public_key(key: PrivateKey, other: PrivateKey, encoded: bytes) -> bytes:
    """The same DER with the public key of another key."""
    mine, others = (k.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for k in (key, other))
    assert mine in encoded
    return encoded.replace(mine, others)
