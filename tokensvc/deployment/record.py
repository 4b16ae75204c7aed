"""What belongs to the deployment as a whole: its id, where its keys live, its limits and its wrapped secrets.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.clock import CLOCK_SKEW_SECONDS


class RotationPolicy(NamedTuple):
    """How long a key may sign and what must pass before and after. The deployment's; all in seconds."""

    propagation_seconds: float
    """How long IVS holds a pair before it signs: how fast IVS spreads one is not documented."""
    max_staleness_seconds: float
    """R: the longest that any worker can act on old news."""
    max_age_seconds: float | None = None
    """After so long the next key takes over; None: only when asked."""
    standby: bool = True
    """Whether a prepared key stands ready wherever a slot is free."""

    def drain_seconds(self, longest_ttl_seconds: int) -> float:
        """How long a key's pair is kept after the key retired: until the last token it may have signed has ended."""
        return self.max_staleness_seconds + longest_ttl_seconds + CLOCK_SKEW_SECONDS


class Deployment(NamedTuple):
    """One store and its workers."""

    id: str
    """A UUID made with the store; it is on every key pair that the deployment imports."""
    control_plane: str | None
    """`aws` or `local`, once something bound the store to it."""
    account: str | None
    """The AWS account that the deployment's keys live in, once known."""
    max_ttl_seconds: int
    """The ceiling for every token's life, whatever a caller's policy says."""
    key_propagation_seconds: float
    """How long IVS holds a new key before it signs."""
    key_max_age_seconds: float | None
    """After so long the next key takes over by itself; None: only when asked."""
    key_standby: bool
    """Whether a prepared key stands ready wherever a slot is free."""
    passphrase_salt: bytes
    """For stretching a passphrase that people type (scrypt)."""
    damage: str = ""
    """Why `max_ttl_seconds` cannot be what the store holds; it is 0 then, and no token is issued."""

    def rotation_policy(self, max_staleness_seconds: float) -> RotationPolicy:
        """What keys are rotated by. `max_staleness_seconds`: the longest that any worker acts on old news."""
        return RotationPolicy(
            propagation_seconds=self.key_propagation_seconds,
            max_staleness_seconds=max_staleness_seconds,
            max_age_seconds=self.key_max_age_seconds,
            standby=self.key_standby,
        )

    def __repr__(self) -> str:
        return f"Deployment(id={self.id!r}, control_plane={self.control_plane!r}, account={self.account!r})"


class WrappedSubjectKey(NamedTuple):
    """The key that turns subjects into viewer ids, encrypted as a private key is."""

    version: int
    wrapped: bytes
    """An envelope (`vault/envelope.py`)."""
    created_at: datetime

    @property
    def identity(self) -> tuple[int, datetime]:
        """What an opened key is remembered by. The version alone would name another key in a restored store, and the
        envelope changes when another wrapping key takes over."""
        return self.version, self.created_at

    def __repr__(self) -> str:
        return f"WrappedSubjectKey(version={self.version})"


class DeploymentStore(Protocol):
    """The deployment's record and secrets. Each change raises the `deployment` version in its own transaction."""

    def read(self) -> Deployment:
        """Read the deployment's record. Raises SchemaMismatch when the store was never made (`tokensvc db upgrade`)."""
        ...

    def bind(self, control_plane: str) -> Deployment:
        """Remember which control plane the keys live in. Raises ForeignDeployment when it is another one."""
        ...

    def bind_account(self, account: str) -> Deployment:
        """Remember which account the keys live in. Raises ForeignDeployment when it is another one."""
        ...

    def subject_keys(self) -> list[WrappedSubjectKey]:
        """All versions, newest first. Raises SubjectKeyLost when one that was made is not there, or cannot be read."""
        ...

    def add_subject_key(self, version: int, wrapped: bytes) -> WrappedSubjectKey:
        """Keep this as that version, dated by the store, unless there is one already; return the one that is kept.
        Raises SubjectKeyLost when one that was made before is missing: none is ever made in its place."""
        ...

    def set_rotation(self, *, propagation_seconds: float, max_age_seconds: float | None, standby: bool) -> Deployment:
        """Move the rotation policy."""
        ...

    def replace_subject_key(self, version: int, seen: bytes, wrapped: bytes) -> bool:
        """Put this envelope of the same key in the place of the one that was seen; False when something else is there
        by now. It raises no version: whoever has opened the key has the right one."""
        ...

    def set_max_ttl_seconds(self, seconds: int) -> Deployment:
        """Move the ceiling. Raising it raises, in the same transaction, the longest token life of every key that may
        still sign, a retiring one included; lowering it leaves what was signed."""
        ...
