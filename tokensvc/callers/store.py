"""Who may ask: API-key callers as the store keeps them.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.callers.policy import CallerPolicy


class StoredSecret(NamedTuple):
    """One of a caller's keys: its public id and the SHA-256 of the whole key. The key itself is never kept."""

    key_id: str
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    """Set on the older of two keys while one is being rotated out."""

    def __repr__(self) -> str:
        return f"StoredSecret(key_id={self.key_id!r}, created_at={self.created_at!r}, expires_at={self.expires_at!r})"


class CallerRecord(NamedTuple):
    """An authenticated backend or viewer app."""

    name: str
    policy: CallerPolicy
    secrets: tuple[StoredSecret, ...]
    """At most two, newest first."""
    disabled_at: datetime | None
    created_at: datetime
    damage: str = ""
    """Why the caller's row cannot be read. Then its policy allows nothing, and it is refused."""
    damaged_secrets: Mapping[str, str] = {}
    """By key id, why one of its keys cannot be read; it is left out of `secrets`."""
    newest_key_id: str = ""
    """The id of its newest key, whether that one can be read or not."""

    def problems(self) -> list[str]:
        """What is damaged, each in words."""
        own = [f"caller {self.name} cannot be read: {self.damage}"] if self.damage else []
        return own + [
            f"key {key} of caller {self.name} cannot be read: {why}" for key, why in self.damaged_secrets.items()
        ]


class CallerStore(Protocol):
    """Records of callers. Each change raises the `callers` version in its own transaction."""

    def add(self, name: str, policy: CallerPolicy, secret: StoredSecret) -> CallerRecord:
        """Record a new caller, created when its secret was. Raises CallerExists when the name was ever used."""
        ...

    def list(self) -> list[CallerRecord]:
        """All callers by name, with their secrets; disabled ones too."""
        ...

    def get(self, name: str) -> CallerRecord:
        """One caller. Raises CallerNotFound."""
        ...

    def rotate_secret(self, name: str, expected_key_id: str, secret: StoredSecret, old_until: datetime) -> CallerRecord:
        """Add a new secret; the newest one so far, which must be `expected_key_id`, goes on until `old_until` and
        any older one is forgotten, and so is one that cannot be read. Never prolongs a secret. Raises
        ConcurrentModification when another secret was added meanwhile, CallerNotFound."""
        ...

    def enable(self, name: str) -> CallerRecord:
        """Accept this caller again. Doing it again changes nothing. Raises CallerNotFound."""
        ...

    def disable(self, name: str, at: datetime) -> CallerRecord:
        """Refuse this caller from now on. Doing it again changes nothing. Raises CallerNotFound."""
        ...
