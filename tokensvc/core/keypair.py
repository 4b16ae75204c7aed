"""P-384 key pairs: made, read, written down and fingerprinted.

Rules of the file
- One curve only. ES384 is ECDSA on P-384 (RFC 7518, 3.4) and IVS takes nothing else; every other key is refused
  with the name of what it is.
- Public halves leave as SubjectPublicKeyInfo PEM, the form that ImportPlaybackKeyPair takes (IVS user guide,
  "Create or Import a Playback Key"). Private halves leave only as encrypted PKCS#8.
- Nothing here prints key material: not in an error, not in a repr.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519

from tokensvc.errors import InvalidKey, WrongPassphrase

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

_NAMES: tuple[tuple[tuple[type, ...], str], ...] = (
    ((rsa.RSAPrivateKey, rsa.RSAPublicKey), "an RSA key"),
    ((ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey), "an Ed25519 key"),
    ((ed448.Ed448PrivateKey, ed448.Ed448PublicKey), "an Ed448 key"),
    ((x25519.X25519PrivateKey, x25519.X25519PublicKey), "an X25519 key"),
    ((x448.X448PrivateKey, x448.X448PublicKey), "an X448 key"),
)


def generate() -> PrivateKey:
    """Make a fresh P-384 private key."""
    return ec.generate_private_key(ec.SECP384R1())


def read_private_pem(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Read a SEC1, PKCS#8 or encrypted PEM private key.

    Raises InvalidKey saying what it is when it is not a P-384 private key, WrongPassphrase when it cannot be opened
    with this password.
    """
    if b"PRIVATE KEY-----" not in pem:
        raise InvalidKey(f"this is {_armour(pem)}, not a PEM private key")
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not password:
        raise WrongPassphrase("this private key is encrypted and no passphrase was given")
    try:
        key = serialization.load_pem_private_key(pem, password if encrypted else None)
    except UnsupportedAlgorithm:
        raise InvalidKey("this private key is on a curve or of a kind that is not supported; P-384 is needed") from None
    except ValueError:
        if encrypted:
            raise WrongPassphrase("the passphrase does not open this private key") from None
        raise InvalidKey("this PEM private key is damaged or of an unknown kind") from None
    return _p384_private(key)


def read_public_pem(pem: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo PEM. Raises InvalidKey saying what it is when it is not a P-384 public key."""
    if b"-----BEGIN PUBLIC KEY-----" not in pem:
        raise InvalidKey(f"this is {_armour(pem)}, not a PEM public key (-----BEGIN PUBLIC KEY-----)")
    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        raise InvalidKey("this public key is on a curve or of a kind that is not supported; P-384 is needed") from None
    except ValueError:
        raise InvalidKey("this PEM public key is damaged or of an unknown kind") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS takes P-384 (secp384r1) only")
    return key


def read_public_der(spki: bytes) -> PublicKey:
    """Read a P-384 public key from DER SubjectPublicKeyInfo, as the store keeps it. Raises InvalidKey."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey("this DER public key is damaged or of an unknown kind") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS takes P-384 (secp384r1) only")
    return key


def private_pem(key: PrivateKey, password: bytes) -> bytes:
    """The private half as encrypted PKCS#8 PEM (RFC 5958)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


def public_pem(key: PublicKey) -> str:
    """The public half as SubjectPublicKeyInfo PEM, the text that ImportPlaybackKeyPair takes."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def public_der(key: PublicKey) -> bytes:
    """The public half as DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """IVS's fingerprint: MD5 over the DER SubjectPublicKeyInfo, lower-case hex joined by colons.

    Not documented by AWS; taken from acceptance tests that others run against the live service. It names a key and
    protects nothing, hence MD5.
    """
    return hashlib.md5(public_der(key), usedforsecurity=False).digest().hex(":")


def _p384_private(key: object) -> PrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS takes P-384 (secp384r1) only")
    return key


def _name(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"an EC key on {key.curve.name}"
    return next((name for types, name in _NAMES if isinstance(key, types)), f"a {type(key).__name__.strip('_')}")


def _armour(pem: bytes) -> str:
    if b"CERTIFICATE-----" in pem:
        return "a certificate"
    if b"PUBLIC KEY-----" in pem:
        return "a public key"
    if b"PRIVATE KEY-----" in pem:
        return "a private key"
    return "not PEM"
