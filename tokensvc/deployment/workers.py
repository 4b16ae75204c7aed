"""Who works on this store, and what each has heard: heartbeats, on the store's clock.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.deployment.versions import Version
from tokensvc.problems import Problem


class RegionStatus(NamedTuple):
    """How whoever performs the lifecycle of keys left a region when it last looked at it."""

    region: str
    slots_used: int
    """Key pairs that IVS holds there, whosever they are."""
    foreign: int
    """Those of them that are not ours."""
    next_action: str
    """The next step, or what is waited for; "" when nothing is known to come."""
    next_action_at: float | None
    """When that is, in Unix seconds on the store's clock; None: nobody can say."""
    observed_at: float
    """When it looked, on the same clock."""


class Heartbeat(NamedTuple):
    """What a worker says of itself."""

    worker_id: str
    host: str
    pid: int
    lease_seconds: float
    """How long it goes on signing without the store."""
    keys_version: int
    """The `keys` version that its snapshot holds."""
    deployment_version: int
    """Likewise of `deployment`."""
    store_timeout_seconds: float = 0.0
    """How long one question of it to the store may take."""
    undecryptable: tuple[str, ...] = ()
    """Keys whose private half it could not open."""
    problems: tuple[Problem, ...] = ()
    """What its background duties report."""
    regions: tuple[RegionStatus, ...] = ()
    """What it last saw of each region, when it performs the lifecycle of keys."""
    keys_tag: str = ""
    """The tag of the `keys` version that its snapshot holds: the number alone repeats after a restore."""
    deployment_tag: str = ""
    signer: str = ""
    """What signs its tokens; "" when it signs none."""
    fallback_reason: str = ""
    """Why no faster signer does; "" when there is none."""

    def has_keys_version(self, version: Version) -> bool:
        """Whether its snapshot holds this version of `keys`. For a worker to count as up to date, heartbeats must be
        read before the store's versions: then a worker in the same history is never ahead of what it is compared with,
        and one that is ahead holds keys of a history that a restore undid."""
        return (self.keys_version, self.keys_tag) == version


class Worker(NamedTuple):
    """A worker's last heartbeat, and when it came."""

    heartbeat: Heartbeat
    started_at: datetime
    last_heartbeat_at: datetime


class Workers(Protocol):
    """All workers that were heard of and did not say goodbye."""

    def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Keep what a worker says, in place of what it said before."""
        ...

    def deregister(self, worker_id: str) -> None:
        """Forget a worker that has ended; nothing happens when it is unknown."""
        ...

    def list(self) -> list[Worker]:
        """All of them, oldest first."""
        ...

    def remove_unresponsive(self, seconds: float) -> int:
        """Forget those that were silent for so long; how many."""
        ...
