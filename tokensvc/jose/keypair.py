"""P-384 key pairs: made, read, written down and fingerprinted.

Rules of the file
- One curve only. ES384 is ECDSA on P-384 (RFC 7518, 3.4) and IVS takes nothing else; every other key is refused
  with the name of what it is.
- Public halves leave as SubjectPublicKeyInfo PEM, the form that ImportPlaybackKeyPair takes (IVS user guide,
  "Create or Import a Playback Key"). Private halves leave only as encrypted PKCS#8.
- The two halves of a private key that is read belong together: cryptography's loader works the public half out anew and
  refuses a key that brings another.
- Nothing here prints key material: not in an error, not in a repr.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519

from tokensvc.errors import InvalidKey, WrongPassphrase
from tokensvc.jose import pem as armour

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
_UNSUPPORTED = "is on a curve or of a kind that is not supported; P-384 is needed"
_UNKNOWN_CIPHER = ("Key encrypted with unknown cipher", "Unknown key encryption algorithm")
"""How cryptography says that no passphrase would help. Every other ValueError may mean the wrong one."""


def generate() -> PrivateKey:
    """Make a fresh P-384 private key."""
    return ec.generate_private_key(ec.SECP384R1())


def read_private_pem(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Read a SEC1, PKCS#8 or encrypted PEM private key; a passphrase that is not needed is not used.

    Raises InvalidKey saying what it is when it is not a P-384 private key, WrongPassphrase when it cannot be opened
    with this password. How long a try of the passphrase takes is up to whoever encrypted the key.
    """
    if b"PRIVATE KEY-----" not in pem:
        raise InvalidKey(f"this is {armour.describe_first_block(pem)}, not a PEM private key")
    try:
        key: object = serialization.load_pem_private_key(pem, None)
    except TypeError:  # cryptography's word for "it is encrypted"
        key = _decrypted(pem, password)
    except UnsupportedAlgorithm:
        raise InvalidKey(f"this private key {_UNSUPPORTED}") from None
    except ValueError:
        raise InvalidKey("this PEM private key is damaged, of an unknown kind, or its halves differ") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InvalidKey(f"this is {_name(key)}; IVS takes P-384 (secp384r1) only")
    return key


def read_public_pem(pem: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo PEM. Raises InvalidKey saying what it is when it is not a P-384 public key."""
    if b"-----BEGIN PUBLIC KEY-----" not in pem:
        raise InvalidKey(f"this is {armour.describe_first_block(pem)}, not a PEM public key (-----BEGIN PUBLIC KEY-----)")
    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        raise InvalidKey(f"this public key {_UNSUPPORTED}") from None
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
    """IVS's fingerprint of the key in the form that `public_pem` writes."""
    return fingerprint_of(public_der(key))


def fingerprint_of(spki: bytes) -> str:
    """IVS's fingerprint: MD5 over the DER SubjectPublicKeyInfo, lower-case hex joined by colons.

    Not documented by AWS; taken from acceptance tests that others run against the live service. It names a key and
    protects nothing, hence MD5.
    """
    return hashlib.md5(spki, usedforsecurity=False).digest().hex(":")


def _decrypted(pem: bytes, password: bytes | None) -> object:
    if not password:
        raise WrongPassphrase("this private key is encrypted and no passphrase was given")
    try:
        return serialization.load_pem_private_key(pem, password)
    except UnsupportedAlgorithm:
        raise InvalidKey(f"this private key, or its encryption, {_UNSUPPORTED}") from None
    except InternalError:  # OpenSSL balks, as at a scrypt that would take more memory than it allows
        raise InvalidKey("this private key's encryption is damaged or asks for too much") from None
    except ValueError as problem:
        if str(problem).startswith(_UNKNOWN_CIPHER):
            raise InvalidKey(
                "this private key is encrypted with a cipher that is not supported; write it anew with "
                "`openssl pkcs8 -topk8 -v2 aes256 -in FILE`"
            ) from None
        raise WrongPassphrase("the passphrase does not open this private key") from None


def _name(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        curve = key.curve.name
        return f"an EC key on {_NIST[curve]} ({curve})" if curve in _NIST else f"an EC key on {curve}"
    return next((name for types, name in _NAMES if isinstance(key, types)), f"a {type(key).__name__.strip('_')}")
