"""Every viewer id that a subject was ever given: revocations and denials reach all of them.

Rules of the file
- The subject key is versioned: a token of yesterday may carry the id of an older version.
- A key is opened once and kept; which versions there are is asked each time. A worker has one `Subjects`, which its
  snapshot and its revocations share, so this holds for the whole process. Threads may share it.
- The first to want a subject key makes it, by compare-and-set.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from tokensvc.deployment.record import DeploymentStore, WrappedSubjectKey
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_BYTES, SUBJECT_KEY_PURPOSE, viewer_id
from tokensvc.vault.cipher import Wrapper

ViewerIds = Callable[[str | None, str | None], tuple[str, ...]]
"""All ids of a viewer that is named by its id or by a subject. Raises StoreError, or VaultError's leaves."""


class Subjects:
    """Turns subjects into viewer ids."""

    def __init__(self, deployment: DeploymentStore, wrapper: Callable[[], Wrapper]) -> None:
        """`wrapper` is asked for when a key is to be opened or made: who names no subject needs none."""
        self._deployment = deployment
        self._wrapper = wrapper
        self._opened: dict[tuple[int, datetime], bytes] = {}

    def keys(self) -> list[bytes]:
        """Every version of the subject key, newest first. Raises StoreError, or VaultError's leaves."""
        return [self._decrypted(key) for key in self._stored()]

    def newest_key(self) -> bytes:
        """The one that new tokens are issued with. Raises as `keys` does."""
        return self._decrypted(self._stored()[0])

    def _stored(self) -> list[WrappedSubjectKey]:
        """Every version as the store has it, newest first; never empty."""
        return self._deployment.subject_keys() or [first_subject_key(self._deployment, self._wrapper())]

    def _decrypted(self, key: WrappedSubjectKey) -> bytes:
        if (secret := self._opened.get(key.identity)) is None:
            secret = self._opened[key.identity] = self._wrapper().unwrap_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
        return secret

    def within(self, namespace: str) -> ViewerIds:
        """Names viewers of one namespace; the keys are read when the first subject comes, and then no more."""
        keys: list[bytes] = []

        def viewer_ids(viewer: str | None, subject: str | None) -> tuple[str, ...]:
            if subject is None:
                return () if viewer is None else (viewer,)
            keys.extend(self.keys() if not keys else ())
            return tuple(viewer_id(key, namespace, subject) for key in keys)

        return viewer_ids


def first_subject_key(deployment: DeploymentStore, wrapper: Wrapper) -> WrappedSubjectKey:
    """Make the subject key of a new store; the one that is kept, which may be another's who was first."""
    fresh = secrets.token_bytes(SUBJECT_KEY_BYTES)
    return deployment.add_subject_key(1, wrapper.wrap_secret(SUBJECT_KEY_PURPOSE, fresh))
