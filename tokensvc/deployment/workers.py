"""Workers and their heartbeats: what each worker runs with, on the store's clock.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.deployment.versions import Version
from tokensvc.problems import Problem


class RegionStatus(NamedTuple):
    """A region's state as the rotation leader last observed it."""

    region: str
    slots_used: int
    """The number of key pairs that IVS holds there, including foreign ones."""
    foreign: int
    """The number of those that do not belong to this deployment."""
    next_action: str
    """The next step, or what it waits for; "" when no step is planned."""
    next_action_at: float | None
    """When that is due, in Unix seconds on the store's clock; None when unknown."""
    observed_at: float
    """When the region was observed, on the same clock."""


class Heartbeat(NamedTuple):
    """What a worker reports about itself."""

    worker_id: str
    host: str
    pid: int
    lease_seconds: float
    """How long it keeps signing without the store."""
    keys_version: int
    """The `keys` version that its snapshot holds."""
    deployment_version: int
    """The `deployment` version that its snapshot holds."""
    store_timeout_seconds: float = 0.0
    """How long one of its queries to the store may take."""
    undecryptable: tuple[str, ...] = ()
    """The ids of the keys that it could not decrypt."""
    problems: tuple[Problem, ...] = ()
    """The problems that its background tasks report."""
    regions: tuple[RegionStatus, ...] = ()
    """Each region as it last observed it, if it is the rotation leader."""
    keys_tag: str = ""
    """The tag of the `keys` version that its snapshot holds: after a restore, numbers repeat."""
    deployment_tag: str = ""
    signer: str = ""
    """The signer in use; "" when the process signs no tokens."""
    fallback_reason: str = ""
    """Why a faster signer is not used; "" when none is faster."""

    def has_keys_version(self, version: Version) -> bool:
        """Whether its snapshot holds this version of `keys`. Read heartbeats before the store's versions: then a worker
        with the same history is never ahead of the version that it is compared with, and a worker that is ahead holds
        keys of a history that a restore undid."""
        return (self.keys_version, self.keys_tag) == version


class Worker(NamedTuple):
    """A worker's last heartbeat, and when it was recorded."""

    heartbeat: Heartbeat
    started_at: datetime
    last_heartbeat_at: datetime


class Workers(Protocol):
    """The registered workers: those that sent a heartbeat and did not deregister."""

    def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Store a worker's heartbeat in place of its previous one."""
        ...

    def deregister(self, worker_id: str) -> None:
        """Delete a worker that has stopped. Does nothing when it is unknown."""
        ...

    def list(self) -> list[Worker]:
        """All registered workers, oldest first."""
        ...

    def remove_unresponsive(self, seconds: float) -> int:
        """Delete workers without a heartbeat for this many seconds; return how many."""
        ...
