"""The format of an encrypted secret: lines that name its wrapping key, an empty line, then the encrypted secret.

    Wrapped-By: kms:arn:aws:kms:us-east-1:123456789012:key/0987dcba-…
    Data-Key: AQIDAHh…

    -----BEGIN ENCRYPTED PRIVATE KEY-----

Invariants
- Secrets have the same format in files and in rows. RFC 7468, section 2, allows explanatory text before a PEM block, so
  other programs can read such a file as it is.
- Data that begins otherwise was written by an earlier release and names no wrapping key.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import NamedTuple

BEGIN = b"Wrapped-By: "
"""The first bytes of every envelope, and of nothing that an earlier release wrote."""
_HEAD = re.compile(rb"Wrapped-By: ([!-~]+)\n(?:Data-Key: ([A-Za-z0-9+/]+={0,2})\n)?\n")


class Envelope(NamedTuple):
    """An encrypted secret, with the name of its wrapping key and its data key."""

    kek_name: str
    """The name of the wrapping key; empty if an earlier release wrote the secret."""
    data_key: bytes
    """The data key, encrypted with the wrapping key; empty if the wrapping key uses none."""
    body: bytes

    def __repr__(self) -> str:
        return f"Envelope(wrapped_by={self.kek_name!r})"


def write(envelope: Envelope) -> bytes:
    """The envelope as it is stored."""
    data_key = f"Data-Key: {b64encode(envelope.data_key).decode()}\n" if envelope.data_key else ""
    return f"Wrapped-By: {envelope.kek_name}\n{data_key}\n".encode("ascii") + envelope.body


def read(stored: bytes) -> Envelope:
    """The inverse of `write`. Data without the header lines is all body."""
    head = _HEAD.match(stored)
    if head is None:
        return Envelope("", b"", stored)
    try:
        data_key = b64decode(head[2] or b"", validate=True)
    except ValueError:  # its length is impossible in base64
        return Envelope("", b"", stored)
    return Envelope(head[1].decode("ascii"), data_key, stored[head.end() :])
