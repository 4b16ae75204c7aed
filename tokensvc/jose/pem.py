"""PEM as text (RFC 7468): its blocks, what their labels mean, and its one proper form.

Rules of the file
- Reading is lax, writing is strict: white space inside a block means nothing, however lines were ended, indented or
  joined; what is written is what every library reads.
- A label is never repeated to anyone, for it is somebody's input: it is looked up in a table of our own words.
- OpenSSL's two lines before an encrypted body (RFC 1421, 4.6) are the only headers that are understood.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error, a2b_base64
from typing import NamedTuple

SEC1, PKCS8, ENCRYPTED_PKCS8 = "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"
PKCS12 = "PKCS12"
"""Not a label that anyone writes in PEM; our name for what has no PEM form."""
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
"""What a block with this label is, in words that fit after "this is"."""

_MARK = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
_CIPHER = r"(AES-[A-Z0-9-]{1,20},\s*[0-9A-Fa-f]{32}|(?!AES)[A-Z0-9-]{1,20},\s*[0-9A-Fa-f]{16,32})"
"""A cipher and an IV as long as it needs: given less, cryptography's loader panics instead of raising."""
_ENCRYPTION = re.compile(rf"\s*Proc-Type:\s*4,\s*ENCRYPTED\s+DEK-Info:\s*{_CIPHER}\s")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_STANDARD = str.maketrans("-_", "+/")
_LINE_CHARS = 64


class PemBlock(NamedTuple):
    """What stands between a BEGIN line and its END line."""

    label: str
    body: str | None
    """None when the two lines do not pair: a part of the block is missing."""

    @property
    def kind(self) -> str:
        """What it is, in our words."""
        if self.label == SEC1 and _ENCRYPTION.match(self.body or ""):
            return "an encrypted SEC1 private key"
        return BLOCK_KINDS.get(self.label, "a PEM block of an unknown kind")

    @property
    def is_private(self) -> bool:
        """Whether it holds, or says that it holds, a private half."""
        return self.label.endswith(("PRIVATE KEY", "PRIVATE KEY BLOCK"))

    def normalized(self) -> bytes | None:
        """The same block as every library reads it; None when its body is not base64."""
        head = _ENCRYPTION.match(self.body or "")
        der = decode_base64((self.body or "")[head.end() if head else 0 :])
        if der is None:
            return None
        return pem_block(self.label, der, f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {head[1]}\n\n" if head else "")


def find_blocks(text: str) -> tuple[list[PemBlock], str]:
    """The blocks in a text, in order, and the text before the first and after the last of them."""
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
    """What the first block is, in our words; "not PEM" when there is none."""
    found, _ = find_blocks(pem.decode("latin-1"))
    return found[0].kind if found else "not PEM"


def pem_block(label: str, der: bytes, head: str = "") -> bytes:
    """One block in its proper form."""
    body = b64encode(der).decode("ascii")
    lines = "\n".join(body[at : at + _LINE_CHARS] for at in range(0, len(body), _LINE_CHARS))
    return f"-----BEGIN {label}-----\n{head}{lines}\n-----END {label}-----\n".encode("ascii")


def decode_base64(text: str) -> bytes | None:
    """What the text spells in base64, of either alphabet, padded or not, in lines or not; None when it is none."""
    letters = "".join(text.split())
    if not _BASE64.fullmatch(letters):
        return None
    letters = letters.rstrip("=").translate(_STANDARD)
    try:
        return a2b_base64(letters + "=" * (-len(letters) % 4))
    except Error:  # a length that base64 cannot have
        return None
