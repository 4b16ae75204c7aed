"""Viewer ids: what a valid one is, and how a subject is mapped to viewer ids.

Invariants
- `check_viewer_id` is the only definition of a viewer id that this service accepts, for tokens, revocations and
  denials, over HTTP and in the CLI. It is narrower than IVS's own rule (`claims.check_viewer_id`), which validates
  other people's tokens: IVS's model does not restrict the characters.
- The viewer id of a subject is base64url of the first 30 bytes of HMAC-SHA-256 over (namespace, subject): exactly the
  40 characters that IVS accepts, and no personal data leaves the service.
- The hash includes the namespace's length, so that no two (namespace, subject) pairs give the same input.
- The subject key is versioned: a token issued yesterday may carry the viewer id of an older version. Revocations and
  denials therefore apply to the viewer ids of all versions.
- Each key version is decrypted once and cached; the list of versions is read every time. A worker has one
  `ViewerIdResolver`, shared by its snapshot and its revocations. It may be used from several threads.
- The first worker that needs a subject key creates it, by compare-and-set.
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


ResolveViewerIds = Callable[[str | None, str | None], tuple[str, ...]]
"""Takes a viewer id or a subject; returns all viewer ids of that viewer. Raises StoreError and subclasses of
VaultError."""


class ViewerIdResolver:
    """Maps subjects to viewer ids."""

    def __init__(self, deployment: DeploymentStore, cipher: Callable[[], SecretCipher]) -> None:
        """`cipher` is called only to decrypt or create a key: without subjects none is needed."""
        self._deployment = deployment
        self._cipher = cipher
        self._secrets: dict[tuple[int, datetime], bytes] = {}

    def keys(self) -> list[bytes]:
        """Every version of the subject key, newest first. Raises StoreError and subclasses of VaultError."""
        return [self._decrypt(key) for key in self._stored()]

    def newest_key(self) -> bytes:
        """The version that new tokens are issued with. Raises as `keys` does."""
        return self._decrypt(self._stored()[0])

    def _stored(self) -> list[WrappedSubjectKey]:
        """Every version as stored, newest first; never empty."""
        return self._deployment.subject_keys() or [create_subject_key(self._deployment, self._cipher())]

    def _decrypt(self, key: WrappedSubjectKey) -> bytes:
        if (secret := self._secrets.get(key.identity)) is None:
            secret = self._secrets[key.identity] = self._cipher().decrypt_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
        return secret

    def for_namespace(self, namespace: str) -> ResolveViewerIds:
        """A function that resolves viewers of one namespace. It reads the keys for the first subject and then never
        again, so make a new one for each request."""
        keys: list[bytes] = []

        def viewer_ids(viewer: str | None, subject: str | None) -> tuple[str, ...]:
            if subject is None:
                return () if viewer is None else (viewer,)
            keys.extend(self.keys() if not keys else ())
            return tuple(viewer_id(key, namespace, subject) for key in keys)

        return viewer_ids


def create_subject_key(deployment: DeploymentStore, cipher: SecretCipher) -> WrappedSubjectKey:
    """Create the subject key of a new store and return the stored one: another worker may have been first."""
    secret = secrets.token_bytes(SUBJECT_KEY_BYTES)
    return deployment.add_subject_key(1, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, secret))
