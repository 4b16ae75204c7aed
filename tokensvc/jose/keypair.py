"""P-384 key pairs: generating, parsing, serializing and fingerprinting them.

Invariants
- P-384 is the only curve. ES384 is ECDSA on P-384 (RFC 7518, 3.4) and IVS accepts nothing else; the error about any
  other key says what it is.
- Public keys are serialized as SubjectPublicKeyInfo PEM, the format of ImportPlaybackKeyPair (IVS user guide, "Create
  or Import a Playback Key"). Private keys are serialized only as encrypted PKCS#8.
- The public and private parts of a parsed key match: cryptography's loader derives the public key from the private one
  and rejects a key that contains another.
- No error and no repr contains key material.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519

from tokensvc.errors import InvalidKey, WrongPassphrase
from tokensvc.jose.pem import describe_first_block

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

_NAMES: tuple[tuple[tuple[type, ...], str], ...] = (
    ((rsa.RSAPrivateKey, rsa.RSAPublicKey), "an RSA key"),
    ((dsa.DSAPrivateKey, dsa.DSAPublicKey), "a DSA key"),
    ((ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey), "an Ed25519 key"),
    ((ed448.Ed448PrivateKey, ed448.Ed448PublicKey), "an Ed448 key"),
    ((x25519.X25519PrivateKey, x25519.X25519PublicKey), "an X25519 key"),
    ((x448.X448PrivateKey, x448.X448PublicKey), "an X448 key"),
)
_NIST = {"secp192r1": "P-192", "secp224r1": "P-224", "secp256r1": "P-256", "secp521r1": "P-521"}
_UNSUPPORTED = "is on a curve or of a kind that is not supported; P-384 is required"
_UNKNOWN_CIPHER = ("Key encrypted with unknown cipher", "Unknown key encryption algorithm")
"""cryptography's messages for ciphers that it does not support. Any other ValueError may mean a wrong passphrase."""


def generate() -> PrivateKey:
    """Generate a P-384 private key."""
    return ec.generate_private_key(ec.SECP384R1())


def read_private_pem(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Parse a SEC1, PKCS#8 or encrypted PEM private key. The passphrase is ignored if the key is not encrypted.

    Raises InvalidKey, saying what the PEM is instead of a P-384 private key, or WrongPassphrase if the passphrase
    cannot decrypt it. How long decryption takes depends on the parameters with which the key was encrypted.
    """
    if b"PRIVATE KEY-----" not in pem:
        raise InvalidKey(f"this is {describe_first_block(pem)}, not a PEM private key")
    try:
        key: object = serialization.load_pem_private_key(pem, None)
    except TypeError:  # raised by cryptography if the key is encrypted
        key = _decrypted(pem, password)
    except UnsupportedAlgorithm:
        raise InvalidKey(f"this private key {_UNSUPPORTED}") from None
    except ValueError:
        raise InvalidKey(
            "this PEM private key is damaged, of an unknown kind, or its public and private parts do not match"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS accepts P-384 (secp384r1) only")
    return key


def read_public_pem(pem: bytes) -> PublicKey:
    """Parse a SubjectPublicKeyInfo PEM. Raises InvalidKey, saying what it is instead of a P-384 public key."""
    if b"-----BEGIN PUBLIC KEY-----" not in pem:
        raise InvalidKey(f"this is {describe_first_block(pem)}, not a PEM public key (-----BEGIN PUBLIC KEY-----)")
    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        raise InvalidKey(f"this public key {_UNSUPPORTED}") from None
    except ValueError:
        raise InvalidKey("this PEM public key is damaged or of an unknown kind") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS accepts P-384 (secp384r1) only")
    return key


def read_public_der(spki: bytes) -> PublicKey:
    """Parse a P-384 public key in DER SubjectPublicKeyInfo, the format of the store. Raises InvalidKey."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey("this DER public key is damaged or of an unknown kind") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS accepts P-384 (secp384r1) only")
    return key


def private_pem(key: PrivateKey, password: bytes) -> bytes:
    """The private key as encrypted PKCS#8 PEM (RFC 5958)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


def public_pem(key: PublicKey) -> str:
    """The public key as SubjectPublicKeyInfo PEM, the format of ImportPlaybackKeyPair."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def public_der(key: PublicKey) -> bytes:
    """The public key as DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """IVS's fingerprint of a public key."""
    return fingerprint_of(public_der(key))


def fingerprint_of(spki: bytes) -> str:
    """IVS's fingerprint of a public key in DER: MD5 of the SubjectPublicKeyInfo, lower-case hex with colons.

    INFERRED: A key pair's fingerprint is the MD5 of its SubjectPublicKeyInfo in DER. AWS does not document it; it is
    taken from other projects' acceptance tests against the live service.

    The fingerprint identifies a key and protects nothing, so MD5 is sufficient.
    """
    return hashlib.md5(spki, usedforsecurity=False).digest().hex(":")


def _decrypted(pem: bytes, password: bytes | None) -> object:
    if not password:
        raise WrongPassphrase("this private key is encrypted and no passphrase was given")
    try:
        return serialization.load_pem_private_key(pem, password)
    except UnsupportedAlgorithm:
        raise InvalidKey(f"this private key, or its encryption, {_UNSUPPORTED}") from None
    except InternalError:  # raised by OpenSSL, for instance if scrypt would use more memory than it allows
        raise InvalidKey("this private key's encryption is damaged or needs too many resources") from None
    except ValueError as error:
        if str(error).startswith(_UNKNOWN_CIPHER):
            raise InvalidKey(
                "this private key is encrypted with a cipher that is not supported; re-encrypt it with "
                "`openssl pkcs8 -topk8 -v2 aes256 -in FILE`"
            ) from None
        raise WrongPassphrase("the passphrase cannot decrypt this private key") from None


def _name(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        curve = key.curve.name
        return f"an EC key on {_NIST[curve]} ({curve})" if curve in _NIST else f"an EC key on {curve}"
    return next((name for types, name in _NAMES if isinstance(key, types)), f"a {type(key).__name__.strip('_')}")
