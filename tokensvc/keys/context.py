"""The dependencies of the key lifecycle: stores, vault, IVS, clock, the rotation lease and progress reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tokensvc.audit.requester import Requester
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock
from tokensvc.deployment.record import DeploymentStore, RotationPolicy
from tokensvc.errors import TokensvcError
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys.absences import AbsenceTracker
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.keys.private_keys import PrivateKeyChecks
from tokensvc.keys.store import Journal, KeyStore, RotationRequestStore
from tokensvc.problems import Problem
from tokensvc.vault.store import Vault


@dataclass(frozen=True, kw_only=True)
class KeysContext:
    """The dependencies of every use case on keys. Immutable; `dataclasses.replace` makes a variant."""

    keys: KeyStore
    deployment: DeploymentStore
    journal: Journal
    rotation_requests: RotationRequestStore
    vault: Vault
    control_plane: ControlPlane
    clock: Clock
    sleep: Callable[[float], None]
    new_id: Callable[[], str]
    new_key: Callable[[], PrivateKey]
    max_staleness_seconds: Callable[[], float]
    """Derived from the leases and store timeouts of the current workers."""
    acquire_lease: Callable[[], bool]
    """Acquires or renews the rotation lease. False if another process holds it."""
    release_lease: Callable[[], None]
    leader_problems: Callable[[], Sequence[Problem]]
    """The problems that the rotation leader, the process with the lease, reports."""
    absences: AbsenceTracker
    """The pairs that IVS has reported to this process as not found."""
    private_keys: PrivateKeyChecks
    """The results of this process's checks of the private keys in the vault."""
    requester: Requester
    """On whose behalf the use cases act, for audit records."""
    report: Callable[[str], None]
    """Receives each step as a sentence, to show progress."""
    report_failure: Callable[[str, TokensvcError], None] | None = None
    """Receives a region that could not be completed, and the error. If None, `report` receives both as a sentence."""

    def now(self) -> datetime:
        """The current time on the store's clock."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def damage(self, record: KeyRecord) -> str:
        """What is wrong with this key's private key in the vault; "" if no damage is known."""
        return self.private_keys.damage(self.vault, record, self.clock.monotonic())

    def policy(self) -> RotationPolicy:
        """The deployment's current rotation policy."""
        return self.deployment.read().rotation_policy(self.max_staleness_seconds())
