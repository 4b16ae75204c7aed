"""What belongs to the deployment as a whole: its id, where its keys live, its limits and its wrapped secrets.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.audit.record import AuditEvent
from tokensvc.clock import CLOCK_SKEW_SECONDS


class RotationPolicy(NamedTuple):
    """The deployment's rotation policy: how long a key signs, and the waiting times before and after."""

    propagation_seconds: float
    """How long IVS must hold a key pair before it signs.

    INFERRED: A key pair that was imported may be unknown to parts of IVS for some seconds. AWS documents no propagation
    delay, so a new key waits before it signs its first token.
    """
    max_staleness_seconds: float
    """The longest that any worker may act on an outdated snapshot."""
    max_age_seconds: float | None = None
    """The age at which a key is replaced; None: only on request."""
    standby: bool = True
    """Whether a prepared key is kept ready wherever a slot is free."""

    def drain_seconds(self, longest_ttl_seconds: int) -> float:
        """How long a key pair is kept once its key is retiring: until the last token that it may have signed has
        expired."""
        return self.max_staleness_seconds + longest_ttl_seconds + CLOCK_SKEW_SECONDS


class Deployment(NamedTuple):
    """One store and its workers."""

    id: str
    """A UUID created with the store; every key pair that the deployment imports is tagged with it."""
    control_plane: str | None
    """`aws` or `local`; None until the store is bound to one."""
    account: str | None
    """The AWS account of the deployment's keys; None until it is known."""
    max_ttl_seconds: int
    """The limit on every token's lifetime, whatever a caller's policy says."""
    key_propagation_seconds: float
    """How long IVS must hold a new key before it signs."""
    key_max_age_seconds: float | None
    """The age at which a key is replaced; None: only on request."""
    key_standby: bool
    """Whether a prepared key is kept ready wherever a slot is free."""
    passphrase_salt: bytes
    """The salt for stretching a passphrase that people type (scrypt)."""
    damage: str = ""
    """Why the stored `max_ttl_seconds` is unusable; it is 0 then, and no token is issued. "" when it is usable."""

    def rotation_policy(self, max_staleness_seconds: float) -> RotationPolicy:
        """The rotation policy, given the longest that any worker may act on an outdated snapshot."""
        return RotationPolicy(
            propagation_seconds=self.key_propagation_seconds,
            max_staleness_seconds=max_staleness_seconds,
            max_age_seconds=self.key_max_age_seconds,
            standby=self.key_standby,
        )

    def __repr__(self) -> str:
        return f"Deployment(id={self.id!r}, control_plane={self.control_plane!r}, account={self.account!r})"


class WrappedSubjectKey(NamedTuple):
    """The key that maps subjects to viewer ids, encrypted like a private key."""

    version: int
    wrapped: bytes
    """An envelope (`vault/envelope.py`)."""
    created_at: datetime

    @property
    def identity(self) -> tuple[int, datetime]:
        """The cache key of the decrypted key. In a restored store the version alone could stand for another key, and
        the envelope changes when the key is wrapped with another KEK."""
        return self.version, self.created_at

    def __repr__(self) -> str:
        return f"WrappedSubjectKey(version={self.version})"


class DeploymentStore(Protocol):
    """The deployment's record and secrets. Each change bumps the `deployment` version in its own transaction."""

    def read(self) -> Deployment:
        """Read the deployment's record. Raises SchemaMismatch when the database has no schema (`tokensvc db upgrade`
        creates it)."""
        ...

    def bind(self, control_plane: str) -> Deployment:
        """Record the control plane of the keys. Raises ForeignDeployment when the store is bound to another."""
        ...

    def bind_account(self, account: str) -> Deployment:
        """Record the AWS account of the keys. Raises ForeignDeployment when the store is bound to another."""
        ...

    def subject_keys(self) -> list[WrappedSubjectKey]:
        """All versions, newest first. Raises SubjectKeyLost when an existing version is missing or cannot be read."""
        ...

    def add_subject_key(self, version: int, wrapped: bytes) -> WrappedSubjectKey:
        """Store the key as this version, dated by the store, unless the version exists; return the stored one. Raises
        SubjectKeyLost when an earlier key is missing: a lost key is never replaced by a new one."""
        ...

    def set_rotation(
        self, *, propagation_seconds: float, max_age_seconds: float | None, standby: bool, event: AuditEvent
    ) -> Deployment:
        """Change the rotation policy. If that changes anything, the event is recorded with each old and new value."""
        ...

    def replace_subject_key(self, version: int, seen: bytes, wrapped: bytes) -> bool:
        """Replace the envelope `seen` by another envelope of the same key. Returns False when the stored envelope is no
        longer `seen`. Bumps no version: the decrypted key stays the same."""
        ...

    def set_max_ttl_seconds(self, seconds: int, *, event: AuditEvent) -> Deployment:
        """Change the limit on token lifetimes. Raising it also raises, in the same transaction, the longest token
        lifetime of every key that may still sign, including retiring ones; lowering it does not affect signed
        tokens. If the limit changes, the event is recorded with the old and the new value."""
        ...
