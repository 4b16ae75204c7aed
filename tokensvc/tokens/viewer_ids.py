"""Viewer ids: what a valid one is, and the viewer id of a subject under a subject key.

Invariants
- `check_viewer_id` is the only definition of a viewer id that this service accepts, for tokens, revocations and
  denials, over HTTP and in the CLI. It is narrower than IVS's own rule (`claims.check_viewer_id`), which validates
  other people's tokens: IVS's model does not restrict the characters.
- The viewer id of a subject is base64url of the first 30 bytes of HMAC-SHA-256 over (namespace, subject): exactly the
  40 characters that IVS accepts, and no personal data leaves the service.
- The hash includes the namespace's length, so that no two (namespace, subject) pairs give the same input.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from tokensvc.jose.es384 import base64url_encode
from tokensvc.printable import NO_CONTROLS_PATTERN, check_no_controls, check_unicode
from tokensvc.tokens import claims

SUBJECT_MAX_CHARS = 1024
SUBJECT_KEY_PURPOSE = "subject key"
"""The purpose under which the subject key is encrypted."""
SUBJECT_KEY_BYTES = 32
_DIGEST_BYTES = 30
_MAX_CHARS = claims.VIEWER_ID_MAX_CHARS


def check_viewer_id(value: object) -> str:
    """Return the viewer id. Raises ValueError with the rule that it breaks."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= _MAX_CHARS:
        return value  # the common case, without further calls: this runs for each token
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
"""A viewer's id in the caller's system, as a field of a request. Only its keyed hash is stored, so any text will do."""


def viewer_id(subject_key: bytes, namespace: str, subject: str) -> str:
    """The viewer id of a subject: stable under one subject key, and not reversible."""
    name = namespace.encode()
    message = len(name).to_bytes(4, "big") + name + subject.encode()
    return base64url_encode(hmac.digest(subject_key, message, hashlib.sha256)[:_DIGEST_BYTES]).decode("ascii")
