"""Viewer ids: which ones there are, and how a subject becomes one.

Rules of the file
- `check_viewer_id` is the one definition of a viewer id: tokens are issued for these, and these can be revoked and
  denied, over HTTP and by the commands. It is narrower than IVS's own rule (`claims.check_viewer_id`), by which foreign
  tokens are judged: IVS's model does not restrict the characters.
- A viewer id is base64url of the first 30 bytes of HMAC-SHA-256 over (namespace, subject): exactly the 40 characters
  that IVS takes, and no personal data leaves.
- The namespace's length is part of what is hashed, so that no two pairs are spelled alike.

Every viewer id that a subject was ever given: revocations and denials reach all of them.

Rules of the file
- The subject key is versioned: a token of yesterday may carry the id of an older version.
- A key is opened once and kept; which versions there are is asked each time. A worker has one `ViewerIdResolver`, which its
  snapshot and its revocations share, so this holds for the whole process. Threads may share it.
- The first to want a subject key makes it, by compare-and-set.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from tokensvc.deployment.record import DeploymentStore, WrappedSubjectKey
from tokensvc.jose.es384 import base64url_encode
from tokensvc.printable import NO_CONTROLS_PATTERN, check_no_controls, check_unicode
from tokensvc.tokens import claims
from tokensvc.vault.cipher import SecretCipher

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
    return base64url_encode(hmac.digest(subject_key, message, hashlib.sha256)[:_DIGEST_BYTES]).decode("ascii")


ResolveViewerIds = Callable[[str | None, str | None], tuple[str, ...]]
"""All ids of a viewer that is named by its id or by a subject. Raises StoreError, or VaultError's leaves."""


class ViewerIdResolver:
    """Turns subjects into viewer ids."""

    def __init__(self, deployment: DeploymentStore, cipher: Callable[[], SecretCipher]) -> None:
        """`cipher` is asked for when a key is to be opened or made: who names no subject needs none."""
        self._deployment = deployment
        self._cipher = cipher
        self._opened: dict[tuple[int, datetime], bytes] = {}

    def keys(self) -> list[bytes]:
        """Every version of the subject key, newest first. Raises StoreError, or VaultError's leaves."""
        return [self._decrypted(key) for key in self._stored()]

    def newest_key(self) -> bytes:
        """The one that new tokens are issued with. Raises as `keys` does."""
        return self._decrypted(self._stored()[0])

    def _stored(self) -> list[WrappedSubjectKey]:
        """Every version as the store has it, newest first; never empty."""
        return self._deployment.subject_keys() or [create_subject_key(self._deployment, self._cipher())]

    def _decrypted(self, key: WrappedSubjectKey) -> bytes:
        if (secret := self._opened.get(key.identity)) is None:
            secret = self._opened[key.identity] = self._cipher().decrypt_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
        return secret

    def for_namespace(self, namespace: str) -> ResolveViewerIds:
        """Names viewers of one namespace; the keys are read when the first subject comes, and then no more."""
        keys: list[bytes] = []

        def viewer_ids(viewer: str | None, subject: str | None) -> tuple[str, ...]:
            if subject is None:
                return () if viewer is None else (viewer,)
            keys.extend(self.keys() if not keys else ())
            return tuple(viewer_id(key, namespace, subject) for key in keys)

        return viewer_ids


def create_subject_key(deployment: DeploymentStore, cipher: SecretCipher) -> WrappedSubjectKey:
    """Make the subject key of a new store; the one that is kept, which may be another's who was first."""
    fresh = secrets.token_bytes(SUBJECT_KEY_BYTES)
    return deployment.add_subject_key(1, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, fresh))
