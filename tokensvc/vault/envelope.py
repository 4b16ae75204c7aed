"""How a wrapped secret is written down: lines that name its wrapping key, an empty line, then the secret itself.

    Wrapped-By: kms:arn:aws:kms:us-east-1:123456789012:key/0987dcba-…
    Data-Key: AQIDAHh…

    -----BEGIN ENCRYPTED PRIVATE KEY-----

Rules of the file
- One form wherever a secret rests, in a file or in a row. RFC 7468, section 2, lets lines of explanation stand before
  a PEM, so that others read such a file as it is.
- What begins otherwise was written by an earlier release and names no wrapping key.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import NamedTuple

BEGIN = b"Wrapped-By: "
"""What every envelope begins with, and nothing that an earlier release wrote."""
_HEAD = re.compile(rb"Wrapped-By: ([!-~]+)\n(?:Data-Key: ([A-Za-z0-9+/]+={0,2})\n)?\n")


class Envelope(NamedTuple):
    """A wrapped secret and what it takes to find its wrapping again."""

    kek_name: str
    """The name of the wrapping key; empty in what an earlier release wrote."""
    data_key: bytes
    """The data key as the wrapping key encrypted it; empty when the wrapping key has none."""
    body: bytes

    def __repr__(self) -> str:
        return f"Envelope(wrapped_by={self.kek_name!r})"


def write(envelope: Envelope) -> bytes:
    """The envelope as it is kept."""
    data_key = f"Data-Key: {b64encode(envelope.data_key).decode()}\n" if envelope.data_key else ""
    return f"Wrapped-By: {envelope.kek_name}\n{data_key}\n".encode("ascii") + envelope.body


def read(kept: bytes) -> Envelope:
    """The inverse of `write`. Whatever has no such head is taken as a body alone."""
    head = _HEAD.match(kept)
    if head is None:
        return Envelope("", b"", kept)
    try:
        data_key = b64decode(head[2] or b"", validate=True)
    except ValueError:  # a length that base64 cannot have
        return Envelope("", b"", kept)
    return Envelope(head[1].decode("ascii"), data_key, kept[head.end() :])
