"""Recognizes a private key in text that was pasted where none belongs, so that it is neither read nor repeated.

Invariants
- Only the answer leaves this module: nothing of the text is returned, logged or raised.
- Recognized are PEM (RFC 7468) and JWK (RFC 7517, 6.2.2 and 6.3.2 of RFC 7518), also inside JSON strings, percent
  encoding, base64 or the segments of a token, and DER in base64 (RFC 5915, RFC 5958).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from tokensvc.jose.pem import decode_base64

_PEM = re.compile(r"PRIVATE\s+KEY(?:\s+BLOCK)?-{2,}", re.IGNORECASE)
_MEMBER_D, _MEMBER_KTY = re.compile(r"""['"]d['"]\s*:"""), re.compile(r"""['"]kty['"]\s*:""")
_UNICODE_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_WHITE_SPACE_ESCAPE = re.compile(r"\\+[nrt]")
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")
_DER_KEYS = (
    re.compile(rb"^0.{1,4}\x02\x01\x01\x04[\x14-\x42]", re.DOTALL),  # ECPrivateKey: version 1, an octet string
    re.compile(rb"^0.{1,4}\x02\x01[\x00\x01]0.{1,32}\x06", re.DOTALL),  # PKCS#8: version 0 or 1, an algorithm
    re.compile(rb"^0.{1,4}\x02\x01\x00\x02\x82", re.DOTALL),  # RSAPrivateKey: version 0, a long modulus
    re.compile(rb"^0.{1,4}0.{1,2}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05", re.DOTALL),  # encrypted PKCS#8: PKCS#5
)


def contains_private_key(text: str) -> bool:
    """Whether the text has the form of a private key, or has one inside."""
    plain = _unescaped(text)
    if _is_private(plain):
        return True
    for blob in _BLOB.findall(plain) + _BLOB.findall("".join(plain.split())):
        decoded = decode_base64(blob)
        if decoded is None:
            continue
        if any(form.match(decoded) for form in _DER_KEYS) or _is_private(_unescaped(decoded.decode("latin-1"))):
            return True
    return False


def _unescaped(text: str) -> str:
    """Without percent encoding and without the escapes of JSON strings, however often they were nested."""
    if "%" in text:
        text = unquote_plus(text)
    text = _UNICODE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text)
    return _WHITE_SPACE_ESCAPE.sub(" ", text).replace("\\", "")


def _is_private(text: str) -> bool:
    return bool(_PEM.search(text) or (_MEMBER_D.search(text) and _MEMBER_KTY.search(text)))
