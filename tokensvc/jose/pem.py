"""PEM as text (RFC 7468): its blocks, the meaning of their labels, and its normalized form.

Invariants
- Parsing is lax, writing is strict: white space inside a block is ignored, however lines were ended, indented or
  joined; the normalized form is the one that every library parses.
- A label is never repeated in a message, since it is user input: it is looked up in a table.
- OpenSSL's two lines before an encrypted body (RFC 1421, 4.6) are the only headers that are supported.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error, a2b_base64
from typing import NamedTuple

SEC1, PKCS8, ENCRYPTED_PKCS8 = "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"
PKCS12 = "PKCS12"
"""Not a real PEM label: PKCS#12 has no PEM form."""
BLOCK_KINDS: dict[str, str] = {
    SEC1: "a SEC1 private key",
    PKCS8: "a PKCS#8 private key",
    ENCRYPTED_PKCS8: "an encrypted PKCS#8 private key",
    "RSA PRIVATE KEY": "an RSA private key",
    "DSA PRIVATE KEY": "a DSA private key",
    "OPENSSH PRIVATE KEY": "an OpenSSH private key",
    "PGP PRIVATE KEY BLOCK": "a PGP private key",
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "an RSA public key",
    "PGP PUBLIC KEY BLOCK": "a PGP public key",
    "PGP MESSAGE": "a PGP message",
    "CERTIFICATE": "a certificate",
    "X509 CERTIFICATE": "a certificate",
    "TRUSTED CERTIFICATE": "a certificate",
    "CERTIFICATE REQUEST": "a certificate signing request",
    "NEW CERTIFICATE REQUEST": "a certificate signing request",
    "X509 CRL": "a certificate revocation list",
    "PKCS7": "a PKCS#7 bundle",
    "CMS": "a PKCS#7 bundle",
    PKCS12: "a PKCS#12 bundle",
    "EC PARAMETERS": "EC parameters without a key",
    "DH PARAMETERS": "Diffie-Hellman parameters",
}
"""A description of a block by its label, to be used after "this is"."""

_MARK = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
_CIPHER = r"(AES-[A-Z0-9-]{1,20},\s*[0-9A-Fa-f]{32}|(?!AES)[A-Z0-9-]{1,20},\s*[0-9A-Fa-f]{16,32})"
"""A cipher and an IV of its full length: with a shorter IV cryptography's loader panics instead of raising."""
_ENCRYPTION = re.compile(rf"\s*Proc-Type:\s*4,\s*ENCRYPTED\s+DEK-Info:\s*{_CIPHER}\s")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_STANDARD = str.maketrans("-_", "+/")
_LINE_CHARS = 64


class PemBlock(NamedTuple):
    """One PEM block: the label and the text between the BEGIN line and the END line."""

    label: str
    body: str | None
    """None if the two lines do not match: a part of the block is missing."""

    @property
    def kind(self) -> str:
        """A description of the block, to be used after "this is"."""
        if self.label == SEC1 and _ENCRYPTION.match(self.body or ""):
            return "an encrypted SEC1 private key"
        return BLOCK_KINDS.get(self.label, "a PEM block of an unknown kind")

    @property
    def is_private(self) -> bool:
        """Whether the label says that the block contains a private key."""
        return self.label.endswith(("PRIVATE KEY", "PRIVATE KEY BLOCK"))

    def normalized(self) -> bytes | None:
        """The block in the form that every library parses; None if its body is not base64."""
        head = _ENCRYPTION.match(self.body or "")
        der = decode_base64((self.body or "")[head.end() if head else 0 :])
        if der is None:
            return None
        return pem_block(self.label, der, f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {head[1]}\n\n" if head else "")


def find_blocks(text: str) -> tuple[list[PemBlock], str]:
    """The blocks in a text, in order, and the text before the first and after the last block."""
    marks = list(_MARK.finditer(text))
    found: list[PemBlock] = []
    begin: re.Match[str] | None = None
    for mark in marks:
        if mark[1] == "BEGIN":
            if begin:
                found.append(PemBlock(begin[2], None))
            begin = mark
        elif begin and begin[2] == mark[2]:
            found.append(PemBlock(mark[2], text[begin.end() : mark.start()]))
            begin = None
        else:
            found.append(PemBlock((begin or mark)[2], None))
            begin = None
    if begin:
        found.append(PemBlock(begin[2], None))
    return found, text[: marks[0].start()] + text[marks[-1].end() :] if marks else text


def describe_first_block(pem: bytes) -> str:
    """A description of the first block; "not PEM" if there is none."""
    found, _ = find_blocks(pem.decode("latin-1"))
    return found[0].kind if found else "not PEM"


def pem_block(label: str, der: bytes, head: str = "") -> bytes:
    """One block in its normalized form."""
    body = b64encode(der).decode("ascii")
    lines = "\n".join(body[at : at + _LINE_CHARS] for at in range(0, len(body), _LINE_CHARS))
    return f"-----BEGIN {label}-----\n{head}{lines}\n-----END {label}-----\n".encode("ascii")


def decode_base64(text: str) -> bytes | None:
    """Decode base64 in either alphabet, with or without padding and line breaks; None if the text is not base64."""
    letters = "".join(text.split())
    if not _BASE64.fullmatch(letters):
        return None
    letters = letters.rstrip("=").translate(_STANDARD)
    try:
        return a2b_base64(letters + "=" * (-len(letters) % 4))
    except Error:  # its length is impossible in base64
        return None
