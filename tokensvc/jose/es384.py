"""ES384 in JWS compact form (RFC 7515, 7.1; RFC 7518, 3.4).

Rules of the file
- One algorithm, one header, encoded once. No `kid`: IVS documents none and knows its keys by channel.
- A signature is the raw r||s, 96 bytes, never DER.
- Decoding is strict: the base64url alphabet only, no padding, no stray bits, so that a token has one spelling.
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
_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")


def base64url_encode(data: bytes) -> bytes:
    """base64url without padding (RFC 7515, 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")


def base64url_decode(text: bytes) -> bytes:
    """The inverse of `base64url_encode`. Raises ValueError for anything that `base64url_encode` would not have
    written."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("is not base64url without padding")
    data = a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4))
    if base64url_encode(data) != text:
        raise ValueError("is base64url with stray bits at its end")
    return data


class PreparedKey(Protocol):
    """A private key in the form that a signer works with: prepared once, used many times."""

    def sign(self, digest: bytes) -> bytes:
        """Return the r||s signature over what has this digest."""
        ...


_HEADER = base64url_encode(b'{"alg":"ES384","typ":"JWT"}') + b"."
SIGNATURE_CHARS = 128


def signing_input(payload: bytes) -> bytes:
    """The bytes that are signed: encoded header, dot, encoded payload (RFC 7515, 5.1)."""
    return _HEADER + base64url_encode(payload)


def digest(signed: bytes) -> bytes:
    """SHA-384 of the bytes that are signed: what ES384 makes a signature over (RFC 7518, 3.4)."""
    return sha384(signed).digest()


def jws_compact(signed: bytes, signature: bytes) -> str:
    """The whole token, from the bytes that were signed and their signature."""
    return (signed + b"." + b2a_base64(signature, newline=False).translate(_URL_SAFE)).decode("ascii")


def verify(key: PublicKey, signed: bytes, signature: bytes) -> bool:
    """Whether this key made that signature over those bytes. Anything but 96 bytes is False."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r = int.from_bytes(signature[:COORDINATE_BYTES], "big")
    s = int.from_bytes(signature[COORDINATE_BYTES:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, _ECDSA)
    except InvalidSignature:
        return False
    return True
