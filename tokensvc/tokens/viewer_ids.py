"""Viewer ids: which ones there are, and how a subject becomes one.

Rules of the file
- `check_viewer_id` is the one definition of a viewer id: tokens are issued for these, and these can be revoked and
  denied, over HTTP and by the commands. It is narrower than IVS's own rule (`claims.check_viewer_id`), by which foreign
  tokens are judged: IVS's model does not restrict the characters.
- A viewer id is base64url of the first 30 bytes of HMAC-SHA-256 over (namespace, subject): exactly the 40 characters
  that IVS takes, and no personal data leaves.
- The namespace's length is part of what is hashed, so that no two pairs are spelled alike.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from tokensvc.jose.es384 import encode
from tokensvc.printable import NO_CONTROLS_PATTERN, check_no_controls, check_unicode
from tokensvc.tokens import claims

SUBJECT_MAX_CHARS = 1024
SUBJECT_KEY_PURPOSE = "subject key"
"""What it is wrapped as."""
SUBJECT_KEY_BYTES = 32
_DIGEST_BYTES = 30
_MAX_CHARS = claims.VIEWER_ID_MAX_CHARS


def check_viewer_id(value: object) -> str:
    """Return the viewer id. Raises ValueError with the rule that it breaks."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= _MAX_CHARS:
        return value  # nearly every one, and this runs for each token
    return check_no_controls(check_unicode(claims.check_viewer_id(value)))


ViewerId = Annotated[
    str,
    AfterValidator(check_viewer_id),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": claims.VIEWER_ID_MAX_CHARS, "pattern": NO_CONTROLS_PATTERN}
    ),
]
"""A viewer id as a field of a request."""

Subject = Annotated[str, Field(min_length=1, max_length=SUBJECT_MAX_CHARS)]
"""A viewer in the caller's own words, as a field of a request. Only its keyed hash is stored, so any text will do."""


def viewer_id(subject_key: bytes, namespace: str, subject: str) -> str:
    """The viewer id of a subject: the same for ever under one subject key, and not to be turned back."""
    name = namespace.encode()
    message = len(name).to_bytes(4, "big") + name + subject.encode()
    return encode(hmac.digest(subject_key, message, hashlib.sha256)[:_DIGEST_BYTES]).decode("ascii")
