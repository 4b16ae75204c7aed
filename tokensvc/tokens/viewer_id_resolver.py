"""Resolves a subject to every viewer id that it was ever given, so that revocations and denials apply to all of them.

Invariants
- The subject key is versioned: a token issued yesterday may carry the viewer id of an older version.
- Each key version is decrypted once and cached; the list of versions is read every time. A worker has one
  `ViewerIdResolver`, shared by its snapshot and its revocations. It may be used from several threads.
- The first worker that needs a subject key creates it, by compare-and-set.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from tokensvc.deployment.record import DeploymentStore, WrappedSubjectKey
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_BYTES, SUBJECT_KEY_PURPOSE, viewer_id
from tokensvc.vault.cipher import SecretCipher

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
