"""What the key lifecycle works with: stores, vault, IVS, clock, the rotation lease, and where progress is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock
from tokensvc.deployment.record import DeploymentStore, RotationPolicy
from tokensvc.errors import TokensvcError
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys.absences import AbsenceTracker
from tokensvc.keys.journal import Journal
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.keys.private_keys import PrivateKeyChecks
from tokensvc.keys.rotation_requests import RotationRequestStore
from tokensvc.keys.store import KeyStore
from tokensvc.problems import Problem
from tokensvc.vault.store import Vault


@dataclass(frozen=True, kw_only=True)
class KeysContext:
    """The dependencies of every use case on keys. Immutable; `dataclasses.replace` makes a variant."""

    keys: KeyStore
    deployment: DeploymentStore
    journal: Journal
    rotations: RotationRequestStore
    vault: Vault
    control_plane: ControlPlane
    clock: Clock
    sleep: Callable[[float], None]
    new_id: Callable[[], str]
    new_key: Callable[[], PrivateKey]
    max_staleness_seconds: Callable[[], float]
    """R, from the leases and store timeouts of the workers there are."""
    acquire_lease: Callable[[], bool]
    """Take or prolong the lease of the one who performs; False when another has it."""
    release_lease: Callable[[], None]
    """Give that lease up."""
    leader_problems: Callable[[], Sequence[Problem]]
    """What the one who has that lease reports."""
    absences: AbsenceTracker
    """What IVS answered to this process about pairs that it does not hold."""
    private_keys: PrivateKeyChecks
    """What this process knows of the private keys in the vault."""
    report: Callable[[str], None]
    """Told each step in words, for progress."""
    report_failure: Callable[[str, TokensvcError], None] | None = None
    """Takes a region and why it went no further; without it that is reported in words, as a step is."""

    def now(self) -> datetime:
        """The instant that things are dated by."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def damage(self, record: KeyRecord) -> str:
        """What is wrong with the private key that the vault has for this key; "" where nothing is known to be."""
        return self.private_keys.damage(self.vault, record, self.clock.monotonic())

    def policy(self) -> RotationPolicy:
        """The deployment's policy, as it is now."""
        return self.deployment.read().rotation_policy(self.max_staleness_seconds())
