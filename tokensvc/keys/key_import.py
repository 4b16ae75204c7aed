"""A private key as people have it: out of a file, a variable, a secret or a mail, and seldom in its proper form.

Rules of the file
- It is unwrapped layer by layer (bytes, text, escapes, quotes, base64) until a PEM block, DER or a JWK is left; nothing
  is guessed: whatever was undone, the key that comes out must be whole and of P-384.
- `found` says in plain words what was read, so that people see which habit to drop.
- What is not a private key that we take is refused by its name, with the way out where there is one. Neither an
  answer nor a refusal repeats any of the input.
- For one's own keys only: how long a try of the passphrase takes is up to whoever encrypted the key.

DER without a label: which PEM label it would carry.

Rules of the file
- No ASN.1 of our own: each of cryptography's loaders is asked in turn, and the PEM ones hold bytes to their label.
- PKCS#12 alone is told by the object identifier near its start, since its loader would first work through as many
  rounds of hashing as the file asks for.
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
from tokensvc.jose import jwk, keypair, strict_json
from tokensvc.jose import pem as armour
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.pem import PemBlock
from tokensvc.keys import key_import

MAX_BYTES = 65_536
_MAX_WRAPPINGS = 16
_BEGIN = "-----BEGIN "
_BLANK = " \t\n\v\f\r\ufeff"
_QUOTES = ('"', "'", "`")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "with a byte-order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "in UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "in UTF-16"),
)
_ESCAPE = re.compile(r"""(?<!\\)\\+(?:u([0-9A-Fa-f]{4})|([nrt])|(["'/]))""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_LINE_CHARS = 76
"""The longest line of base64 that programs write by custom (RFC 2045, 6.8)."""

_WAYS_OUT = {
    "OPENSSH PRIVATE KEY": "; `ssh-keygen -p -m PKCS8 -f FILE`, on a copy, writes it as PKCS#8",
    armour.PKCS12: "; `openssl pkcs12 -in FILE -nocerts` takes the private key out of it",
}
_PUBLIC_ONLY = "; the private half is needed, and this holds none"
_UNKNOWN = "this is not a private key in any known form: PEM, DER, base64 of either, or a JWK"


class ParsedKey(NamedTuple):
    """A private key and the form it came in."""

    private_key: PrivateKey
    description: str
    """Fits after "found": `a SEC1 private key in PEM, with CRLF line ends, base64-wrapped`."""


def parse_private_key(data: bytes, password: bytes | None = None) -> ParsedKey:
    """The one P-384 private key in what somebody pasted; a passphrase that is not needed is not used.

    Raises InvalidKey saying what it is instead, or WrongPassphrase when it is encrypted and this does not open it.
    """
    if len(data) > MAX_BYTES:
        raise InvalidKey(f"this is longer than {MAX_BYTES} bytes; a private key has less than 1,000")
    habits: list[str] = []
    """What was undone, the outermost first."""
    for _ in range(_MAX_WRAPPINGS):
        text = _text(data, habits)
        if text is None:
            return _from_der(data, password, habits)
        if _BEGIN in text or "-----END " in text:
            return _from_pem(text, password, habits)
        if not text:
            raise InvalidKey("this is empty")
        if text.startswith("{") and (members := _object(text)) is not None:
            return ParsedKey(jwk.read_private_jwk(members), _words("a private key as a JWK", habits))
        data = _unwrapped(text, habits)
    raise InvalidKey(_UNKNOWN)


def _text(data: bytes, habits: list[str]) -> str | None:
    """The text that these bytes spell, without white space around it; None when they spell none."""
    for mark, encoding, habit in _MARKS:
        if data.startswith(mark):
            habits.append(habit)
            return data.decode(encoding, "replace").strip(_BLANK)
    if _BEGIN.encode() in data:
        return data.decode("utf-8", "replace").strip(_BLANK)  # whatever stands around it, in whatever encoding
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text.strip(_BLANK)


def _object(text: str) -> dict[str, object] | None:
    try:
        return strict_json.read_object(text.encode("utf-8"))
    except ValueError:
        return None


def _unwrapped(text: str, habits: list[str]) -> bytes:
    """One layer less. Raises InvalidKey when there is nothing to take off."""
    if "\\" in text:
        return _unescaped(text, habits).encode("utf-8", "replace")
    if (bare := _unquoted(text)) != text:
        habits.append("in quotes")
        return bare.encode("utf-8")
    if text.startswith(("ssh-", "ecdsa-sha2-", "sk-")):
        raise InvalidKey(f"this is an OpenSSH public key{_PUBLIC_ONLY}")
    if text.startswith("PuTTY-User-Key-File"):
        raise InvalidKey("this is a PuTTY private key; a P-384 key in SEC1 or PKCS#8 is needed")
    spelled = armour.decode_base64(text)
    if spelled is None:
        raise InvalidKey(_UNKNOWN)
    habits.append("base64-wrapped")
    return spelled


def _unescaped(text: str, habits: list[str]) -> str:
    """With the escapes of JSON, shells and .env files undone, however many backslashes each has come to have."""
    bare = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[3]), text)
    if bare == text:
        raise InvalidKey(_UNKNOWN)
    habits.append("with escapes such as \\n written out")
    return bare


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES else text


def _from_der(data: bytes, password: bytes | None, habits: list[str]) -> ParsedKey:
    label = key_import.label_of(data)
    if label is None:
        raise InvalidKey(_UNKNOWN)
    block = PemBlock(label, "")
    _refuse_strangers(block)
    key = keypair.read_private_pem(armour.pem_block(label, data), password)
    return ParsedKey(key, _words(f"{block.kind} in DER", habits))


def _from_pem(text: str, password: bytes | None, habits: list[str]) -> ParsedKey:
    if _ESCAPE.search(text):
        text = _unescaped(text, habits)
    blocks, around = armour.find_blocks(text)
    private = [block for block in blocks if block.is_private]
    if len(private) > 1:
        raise InvalidKey(f"this holds {len(private)} private keys; import one at a time")
    if not blocks:
        raise InvalidKey("this begins like PEM, but its BEGIN line is damaged")
    block = (private or blocks)[0]
    _refuse_strangers(block)
    pem = block.normalized()
    if pem is None:
        raise InvalidKey(f"this is {block.kind} in PEM that is damaged: a part is missing, or is not base64")
    key = keypair.read_private_pem(pem, password)
    habits += reversed(_layout(text, block, around, len(blocks) > 1))
    return ParsedKey(key, _words(f"{block.kind} in PEM", habits))


def _layout(text: str, block: PemBlock, around: str, has_more: bool) -> list[str]:
    """What of a block's text is not as it should be."""
    habits = []
    if "\r" in text:
        habits.append("with CRLF line ends" if "\r\n" in text else "with CR line ends")
    lines = (block.body or "").strip().splitlines()
    if any(len(line.strip()) > _LINE_CHARS for line in lines):
        habits.append("without line ends" if len(lines) == 1 else "with long lines")
    elif any(line[:1].isspace() for line in lines):
        habits.append("indented")
    if around.strip() and not _unquoted(around.strip()).strip():
        habits.append("in quotes")
    elif around.strip() or has_more:
        habits.append("with other text around it")
    return habits


def _refuse_strangers(block: PemBlock) -> None:
    """Raises InvalidKey for what its label alone tells not to be a key for us."""
    if block.label in _WAYS_OUT:
        raise InvalidKey(f"this is {block.kind}{_WAYS_OUT[block.label]}")
    if not block.is_private:
        raise InvalidKey(f"this is {block.kind}{_PUBLIC_ONLY}")
    if block.label not in (armour.SEC1, armour.PKCS8, armour.ENCRYPTED_PKCS8):
        raise InvalidKey(f"this is {block.kind}; IVS takes P-384 (secp384r1) only")


def _words(kind: str, habits: list[str]) -> str:
    """From the key outwards, each habit once."""
    return ", ".join([kind, *dict.fromkeys(reversed(habits))])


_PRIVATE = (armour.SEC1, armour.PKCS8, armour.ENCRYPTED_PKCS8, "RSA PRIVATE KEY", "DSA PRIVATE KEY")
_OTHERS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("PUBLIC KEY", load_der_public_key),
    ("CERTIFICATE", x509.load_der_x509_certificate),
    ("CERTIFICATE REQUEST", x509.load_der_x509_csr),
)
_PKCS7_DATA = bytes.fromhex("06092a864886f70d010701")
"""1.2.840.113549.1.7.1, the kind of content that a PKCS#12 file wraps (RFC 7292, 4)."""
_HEAD_BYTES = 32


def label_of(key_import: bytes) -> str | None:
    """The label under which these bytes can be read, or None when they cannot be."""
    for label in _PRIVATE:
        if _fits(lambda pem: load_pem_private_key(pem, None), armour.pem_block(label, key_import)):
            return label
    for label, load in _OTHERS:
        if _fits(load, key_import):
            return label
    return armour.PKCS12 if _PKCS7_DATA in key_import[:_HEAD_BYTES] else None


def _fits(load: Callable[[bytes], object], data: bytes) -> bool:
    try:
        load(data)
    except (TypeError, UnsupportedAlgorithm):  # encrypted, or of its form and on a curve that cryptography lacks
        return True
    except (ValueError, x509.InvalidVersion):
        return False
    return True
