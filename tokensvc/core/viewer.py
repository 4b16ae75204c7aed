"""From a subject to a viewer id.

Rules of the file
- A viewer id is base64url of the first 30 bytes of HMAC-SHA-256 over (namespace, subject): exactly the 40 characters
  that IVS takes, and no personal data leaves.
- The namespace's length is part of what is hashed, so that no two pairs are spelled alike.
"""

from __future__ import annotations

import hashlib
import hmac

from tokensvc.core.es384 import encode

SUBJECT_KEY_PURPOSE = "subject key"
"""What it is wrapped as."""
SUBJECT_KEY_BYTES = 32
_DIGEST_BYTES = 30


def viewer_id(subject_key: bytes, namespace: str, subject: str) -> str:
    """The viewer id of a subject: the same for ever under one subject key, and not to be turned back."""
    name = namespace.encode()
    message = len(name).to_bytes(4, "big") + name + subject.encode()
    return encode(hmac.digest(subject_key, message, hashlib.sha256)[:_DIGEST_BYTES]).decode("ascii")
