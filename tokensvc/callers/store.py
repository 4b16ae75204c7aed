"""The store of callers and their API keys.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.callers.policy import CallerPolicy


class StoredSecret(NamedTuple):
    """One of a caller's API keys: its public id and the SHA-256 of the whole key. The key itself is never stored."""

    key_id: str
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    """Set on the older of two keys while it is being replaced."""

    def __repr__(self) -> str:
        return f"StoredSecret(key_id={self.key_id!r}, created_at={self.created_at!r}, expires_at={self.expires_at!r})"


class CallerRecord(NamedTuple):
    """A caller (a backend or a viewer app) as stored."""

    name: str
    policy: CallerPolicy
    secrets: tuple[StoredSecret, ...]
    """At most two, newest first."""
    disabled_at: datetime | None
    created_at: datetime
    damage: str = ""
    """Why the caller's row cannot be read; "" when it can. Otherwise its policy allows nothing, and the caller is
    rejected."""
    damaged_secrets: Mapping[str, str] = {}
    """By key id, why an API key cannot be read; it is left out of `secrets`."""
    newest_key_id: str = ""
    """The id of the newest key, readable or not."""

    def problems(self) -> list[str]:
        """A description of everything that cannot be read."""
        own = [f"caller {self.name} cannot be read: {self.damage}"] if self.damage else []
        return own + [
            f"API key {key} of caller {self.name} cannot be read: {reason}"
            for key, reason in self.damaged_secrets.items()
        ]


class CallerStore(Protocol):
    """Caller records. Each change bumps the `callers` version in its own transaction."""

    def add(self, name: str, policy: CallerPolicy, secret: StoredSecret) -> CallerRecord:
        """Add a caller, created at the time of its secret. Raises CallerExists when the name was ever used."""
        ...

    def list(self) -> list[CallerRecord]:
        """All callers by name, with their secrets; includes disabled ones."""
        ...

    def get(self, name: str) -> CallerRecord:
        """One caller. Raises CallerNotFound."""
        ...

    def rotate_secret(self, name: str, expected_key_id: str, secret: StoredSecret, old_until: datetime) -> CallerRecord:
        """Add a new secret. The previously newest one, which must be `expected_key_id`, stays valid until `old_until`;
        older and unreadable ones are deleted. Never extends a secret's validity. Raises ConcurrentModification when
        another secret was added in the meantime, CallerNotFound."""
        ...

    def enable(self, name: str) -> CallerRecord:
        """Enable this caller again. Idempotent. Raises CallerNotFound."""
        ...

    def disable(self, name: str, at: datetime) -> CallerRecord:
        """Disable this caller from now on. Idempotent. Raises CallerNotFound."""
        ...
