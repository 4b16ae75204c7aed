"""Parsing of private keys as people have them: from files, variables, secrets or mails, often not in their proper form.

Invariants
- Layers (byte encoding, escapes, quotes, base64) are removed one by one until a PEM block, DER or a JWK is left.
  Nothing is guessed: the resulting key must be complete and on P-384.
- `ParsedKey.description` says what was read, so that people see which quirks to avoid.
- Anything but a supported private key is rejected by name and, if possible, with a way to convert it. Neither
  descriptions nor errors repeat any of the input.
- There is no ASN.1 parser here: DER is identified by trying the loaders of cryptography; its PEM loaders reject content
  that does not match its label. Only PKCS#12 is recognized by an object identifier near its start, since its loader
  would first compute as many rounds of hashing as the file asks for.
- It is meant for an operator's own keys: how long trying a passphrase takes depends on how the key was encrypted.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from tokensvc.errors import InvalidKey
from tokensvc.jose import jwk, keypair, pem, strict_json
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.pem import PemBlock

MAX_BYTES = 65_536
_MAX_LAYERS = 16

_UNSUPPORTED = "this is not a private key in a supported format: PEM, DER, base64 of either, or JWK"
_PUBLIC_ONLY = ", which contains no private key"
_CONVERSIONS = {
    "OPENSSH PRIVATE KEY": "; convert a copy to PKCS#8 with `ssh-keygen -p -m PKCS8 -f FILE`",
    pem.PKCS12: "; extract the private key with `openssl pkcs12 -in FILE -nocerts`",
}


class ParsedKey(NamedTuple):
    """A private key and the form in which it was found."""

    private_key: PrivateKey
    description: str
    """Fits after "found": `a SEC1 private key in PEM, with CRLF line endings, base64-wrapped`."""


def parse_private_key(data: bytes, password: bytes | None = None) -> ParsedKey:
    """The one P-384 private key in these bytes. A passphrase that is not needed is ignored.

    Raises InvalidKey, which says what the input is instead, or WrongPassphrase if it is encrypted and cannot be
    decrypted with this one.
    """
    if len(data) > MAX_BYTES:
        raise InvalidKey(f"this is longer than {MAX_BYTES} bytes; a private key is shorter than 1,000 bytes")
    quirks: list[str] = []
    """What was removed, outermost first."""
    for _ in range(_MAX_LAYERS):
        text = _decode_text(data, quirks)
        if text is None:
            return _parse_der(data, password, quirks)
        if _BEGIN in text or "-----END " in text:
            return _parse_pem(text, password, quirks)
        if not text:
            raise InvalidKey("this is empty")
        if text.startswith("{") and (members := _parse_json_object(text)) is not None:
            return ParsedKey(jwk.read_private_jwk(members), _describe("a private key as a JWK", quirks))
        data = _remove_layer(text, quirks)
    raise InvalidKey(_UNSUPPORTED)


# --- text, and the layers around a key

_BEGIN = "-----BEGIN "
_BLANK = " \t\n\v\f\r\ufeff"
_QUOTES = ('"', "'", "`")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "with a byte-order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "in UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "in UTF-16"),
)
_ESCAPE = re.compile(r"""(?<!\\)\\+(?:u([0-9A-Fa-f]{4})|([nrt])|(["'/]))""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def _decode_text(data: bytes, quirks: list[str]) -> str | None:
    """The bytes as text, without surrounding white space. None if they are not text."""
    for mark, encoding, quirk in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            quirks.append(quirk)
            return data.decode(encoding, "replace").strip(_BLANK)
    if _BEGIN.encode() in data:
        return data.decode("utf-8", "replace").strip(_BLANK)  # the text around the block may be in any encoding
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text.strip(_BLANK)


def _parse_json_object(text: str) -> dict[str, object] | None:
    try:
        return strict_json.read_object(text.encode("utf-8"))
    except ValueError:
        return None


def _remove_layer(text: str, quirks: list[str]) -> bytes:
    """The text with one layer removed. Raises InvalidKey if there is none."""
    if "\\" in text:
        return _unescape(text, quirks).encode("utf-8", "replace")
    if (unquoted := _unquote(text)) != text:
        quirks.append("in quotes")
        return unquoted.encode("utf-8")
    if text.startswith(("ssh-", "ecdsa-sha2-", "sk-")):
        raise InvalidKey(f"this is an OpenSSH public key{_PUBLIC_ONLY}")
    if text.startswith("PuTTY-User-Key-File"):
        raise InvalidKey("this is a PuTTY private key; a P-384 key in SEC1 or PKCS#8 format is required")
    decoded = pem.decode_base64(text)
    if decoded is None:
        raise InvalidKey(_UNSUPPORTED)
    quirks.append("base64-wrapped")
    return decoded


def _unescape(text: str, quirks: list[str]) -> str:
    """The text without the escapes of JSON, shells and .env files, however many backslashes each one has."""
    unescaped = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[3]), text)
    if unescaped == text:
        raise InvalidKey(_UNSUPPORTED)
    quirks.append("with escapes such as \\n")
    return unescaped


def _unquote(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES else text


# --- PEM

_LINE_CHARS = 76
"""The longest line of base64 that programs write by custom (RFC 2045, 6.8)."""


def _parse_pem(text: str, password: bytes | None, quirks: list[str]) -> ParsedKey:
    if _ESCAPE.search(text):
        text = _unescape(text, quirks)
    blocks, around = pem.find_blocks(text)
    private = [block for block in blocks if block.is_private]
    if len(private) > 1:
        raise InvalidKey(f"this contains {len(private)} private keys; import them one at a time")
    if not blocks:
        raise InvalidKey("this begins like PEM, but its BEGIN line is damaged")
    block = (private or blocks)[0]
    _require_supported(block)
    normalized = block.normalized()
    if normalized is None:
        raise InvalidKey(f"this is {block.kind} in PEM that is damaged: a part is missing, or is not base64")
    key = keypair.read_private_pem(normalized, password)
    quirks += reversed(_layout_quirks(text, block, around, len(blocks) > 1))
    return ParsedKey(key, _describe(f"{block.kind} in PEM", quirks))


def _layout_quirks(text: str, block: PemBlock, around: str, has_more: bool) -> list[str]:
    """How the text differs from a plain PEM file."""
    quirks = []
    if "\r" in text:
        quirks.append("with CRLF line endings" if "\r\n" in text else "with CR line endings")
    lines = (block.body or "").strip().splitlines()
    if any(len(line.strip()) > _LINE_CHARS for line in lines):
        quirks.append("without line breaks" if len(lines) == 1 else "with long lines")
    elif any(line[:1].isspace() for line in lines):
        quirks.append("indented")
    if around.strip() and not _unquote(around.strip()).strip():
        quirks.append("in quotes")
    elif around.strip() or has_more:
        quirks.append("with other text around it")
    return quirks


# --- DER

_PRIVATE_LABELS = (pem.SEC1, pem.PKCS8, pem.ENCRYPTED_PKCS8, "RSA PRIVATE KEY", "DSA PRIVATE KEY")
_OTHER_LABELS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("PUBLIC KEY", load_der_public_key),
    ("CERTIFICATE", x509.load_der_x509_certificate),
    ("CERTIFICATE REQUEST", x509.load_der_x509_csr),
)
_PKCS7_DATA = bytes.fromhex("06092a864886f70d010701")
"""1.2.840.113549.1.7.1, the content type in a PKCS#12 file (RFC 7292, 4)."""
_HEAD_BYTES = 32


def _parse_der(data: bytes, password: bytes | None, quirks: list[str]) -> ParsedKey:
    label = _pem_label_of(data)
    if label is None:
        raise InvalidKey(_UNSUPPORTED)
    block = PemBlock(label, "")
    _require_supported(block)
    key = keypair.read_private_pem(pem.pem_block(label, data), password)
    return ParsedKey(key, _describe(f"{block.kind} in DER", quirks))


def _pem_label_of(der: bytes) -> str | None:
    """The PEM label for these bytes, or None if they are not DER of a known kind."""
    for label in _PRIVATE_LABELS:
        if _can_load(lambda block: load_pem_private_key(block, None), pem.pem_block(label, der)):
            return label
    for label, load in _OTHER_LABELS:
        if _can_load(load, der):
            return label
    return pem.PKCS12 if _PKCS7_DATA in der[:_HEAD_BYTES] else None


def _can_load(load: Callable[[bytes], object], data: bytes) -> bool:
    try:
        load(data)
    except (TypeError, UnsupportedAlgorithm):  # of this kind, but encrypted or on a curve that cryptography lacks
        return True
    except (ValueError, x509.InvalidVersion):
        return False
    return True


# --- both


def _require_supported(block: PemBlock) -> None:
    """Raises InvalidKey if the label alone shows that the block is not a private key for IVS."""
    if block.label in _CONVERSIONS:
        raise InvalidKey(f"this is {block.kind}{_CONVERSIONS[block.label]}")
    if not block.is_private:
        raise InvalidKey(f"this is {block.kind}{_PUBLIC_ONLY}")
    if block.label not in (pem.SEC1, pem.PKCS8, pem.ENCRYPTED_PKCS8):
        raise InvalidKey(f"this is {block.kind}; IVS accepts P-384 (secp384r1) only")


def _describe(kind: str, quirks: list[str]) -> str:
    """The kind of key and its quirks, innermost first, each once."""
    return ", ".join([kind, *dict.fromkeys(reversed(quirks))])
