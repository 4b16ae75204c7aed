"""The store of callers and their API keys.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.audit.record import AuditEvent
from tokensvc.callers.policy import CallerPolicy


class StoredSecret(NamedTuple):
    """One of a caller's API keys: its public id and the SHA-256 of the whole key. The key itself is never stored."""

    key_id: str
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    """Set on the older of two keys while it is being replaced."""
    last_used_at: datetime | None = None
    """When it was last accepted, to the minute; None if it never was."""
    last_used_from: str | None = None
    """The address of the client that used it then."""

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


class CallerChange(NamedTuple):
    """What is to become of a caller."""

    name: str
    before: CallerRecord | None
    """The record that the change was planned for; None for a new caller."""
    policy: CallerPolicy
    disabled_at: datetime | None
    secret: StoredSecret | None = None
    """The first API key of a new backend."""


class LastUse(NamedTuple):
    """When an API key was last used, and from which address."""

    at: datetime
    address: str


class CallerStore(Protocol):
    """Caller records. Each change bumps the `callers` version, and records the given event about the caller, in its own
    transaction. The store adds to an event the caller's name and what changed.

    Of the callers that are not disabled, at most one has the same issuer and audience; a write that would break this
    raises Conflict naming both. So does one that would make a viewer app of a backend, or the reverse."""

    def add(self, name: str, policy: CallerPolicy, secret: StoredSecret, event: AuditEvent) -> CallerRecord:
        """Add a backend, created at the time of its secret. Raises CallerExists when the name was ever used."""
        ...

    def apply(self, changes: Sequence[CallerChange], at: datetime, event: AuditEvent) -> list[CallerRecord]:
        """Add and change callers, all or none, and record one event for each. Raises CallerExists,
        ConcurrentModification when a caller is no longer as it was, Conflict."""
        ...

    def list(self) -> list[CallerRecord]:
        """All callers by name, with their secrets; includes disabled ones."""
        ...

    def get(self, name: str) -> CallerRecord:
        """One caller. Raises CallerNotFound."""
        ...

    def rotate_secret(
        self, name: str, expected_key_id: str, secret: StoredSecret, old_until: datetime, event: AuditEvent
    ) -> CallerRecord:
        """Add a new secret. The previously newest one, which must be `expected_key_id`, stays valid until `old_until`;
        older and unreadable ones are deleted. Never extends a secret's validity. Raises ConcurrentModification when
        another secret was added in the meantime, CallerNotFound."""
        ...

    def enable(self, name: str, event: AuditEvent) -> CallerRecord:
        """Enable this caller again. Idempotent: without a change, nothing is recorded. Raises CallerNotFound, Conflict
        when another caller has its issuer and audience by now."""
        ...

    def disable(self, name: str, at: datetime, event: AuditEvent) -> CallerRecord:
        """Disable this caller from now on. Idempotent: without a change, nothing is recorded. Raises CallerNotFound."""
        ...

    def record_last_uses(self, uses: Mapping[str, LastUse]) -> None:
        """Store the last uses of API keys by id, unless later ones are stored. Changes no version and records no
        event."""
        ...
