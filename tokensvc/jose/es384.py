"""ES384 in the JWS compact serialization (RFC 7515, 7.1; RFC 7518, 3.4).

Invariants
- There is one algorithm and one header, encoded once. It has no `kid`: IVS documents none, and finds the keys by
  channel.
- A signature is the raw r||s, 96 bytes, never DER.
- Decoding is strict: only the base64url alphabet, no padding, no unused bits that are set. So every token has exactly
  one encoding.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from hashlib import sha384
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tokensvc.jose.keypair import PublicKey

ALGORITHM = "ES384"
SIGNATURE_BYTES = 96
COORDINATE_BYTES = 48
_ECDSA = ec.ECDSA(hashes.SHA384())
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")
_LAST_CHARS = (_CHARS, b"", _CHARS[::16], _CHARS[::4])
"""Length modulo 4 -> the last characters whose unused bits are zero: 4 bits after 2 characters, 2 after 3 (RFC 4648,
section 3.5)."""


def base64url_encode(data: bytes) -> bytes:
    """base64url without padding (RFC 7515, 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")


def base64url_decode(text: bytes) -> bytes:
    """The inverse of `base64url_encode`. Raises ValueError for anything that it does not return."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("is not base64url without padding")
    if text[-1:] not in _LAST_CHARS[len(text) % 4]:
        raise ValueError("is base64url with unused bits that are not zero")
    return a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4))


class PreparedKey(Protocol):
    """A private key as loaded by a signer: prepared once, used many times."""

    def sign(self, digest: bytes) -> bytes:
        """The r||s signature of the data with this digest."""
        ...


_HEADER = base64url_encode(b'{"alg":"ES384","typ":"JWT"}') + b"."
SIGNATURE_CHARS = 128


def signing_input(payload: bytes) -> bytes:
    """The bytes that are signed: encoded header, dot, encoded payload (RFC 7515, 5.1)."""
    return _HEADER + base64url_encode(payload)


def digest(signed: bytes) -> bytes:
    """The SHA-384 digest of the bytes that are signed (RFC 7518, 3.4)."""
    return sha384(signed).digest()


def jws_compact(signed: bytes, signature: bytes) -> str:
    """The token, from the signed bytes and their signature."""
    return (signed + b"." + b2a_base64(signature, newline=False).translate(_URL_SAFE)).decode("ascii")


def verify(key: PublicKey, signed: bytes, signature: bytes) -> bool:
    """Whether the signature of these bytes was made with this key; False if the signature does not have 96 bytes."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r = int.from_bytes(signature[:COORDINATE_BYTES], "big")
    s = int.from_bytes(signature[COORDINATE_BYTES:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, _ECDSA)
    except InvalidSignature:
        return False
    return True
