"""Heartbeats: records in the store what this process runs with, and reads the heartbeats of the other workers.

Invariants
- A key's drain time follows from the longest lease and store timeout that any worker reports, so a worker must record
  its own before it signs for the first time. Later it keeps signing when a heartbeat fails: the lease of its snapshot
  limits that.
- A worker that stops deregisters; a worker that was killed becomes unresponsive. The last report of an unresponsive
  worker is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Heartbeat, Worker, Workers
from tokensvc.problems import Problem

INTERVAL_SECONDS = 5.0
UNRESPONSIVE_AFTER_SECONDS = 30.0
"""A worker that has missed six heartbeats is unresponsive."""


class Heartbeats:
    """This process's heartbeat and those of all workers."""

    def __init__(self, workers: Workers, make_heartbeat: Callable[[], Heartbeat]) -> None:
        self._workers = workers
        self._make_heartbeat = make_heartbeat
        self._is_registered = False
        self._workers_at_last_beat: Sequence[Worker] = ()
        """All registered workers at the last heartbeat, this one included."""

    def ensure_registered(self) -> None:
        """Record the first heartbeat unless that has been done. Raises StoreError; this process must not sign then."""
        if not self._is_registered:
            self.run_once()

    def register_again(self) -> None:
        """Record a heartbeat after the store was replaced: the new store may not know this process, and then drain
        times would not include its lease. Raises StoreError; the next `ensure_registered` tries again then."""
        self._is_registered = False
        self.ensure_registered()

    def run_once(self) -> None:
        """Record this process's heartbeat and read those of all workers. Raises StoreError."""
        self._workers.record_heartbeat(self._make_heartbeat())
        self._is_registered = True
        self._workers_at_last_beat = self._workers.list()

    def deregister(self) -> None:
        """Remove this process from the registered workers, after its last heartbeat. Raises StoreError."""
        self._workers.deregister(self._make_heartbeat().worker_id)

    def responsive_workers(self) -> list[Worker]:
        """The workers that were responsive at the last heartbeat, by the store's clock."""
        newest = max((worker.last_heartbeat_at for worker in self._workers_at_last_beat), default=None)
        return [
            w
            for w in self._workers_at_last_beat
            if newest and (newest - w.last_heartbeat_at).total_seconds() <= UNRESPONSIVE_AFTER_SECONDS
        ]

    def signing_workers(self) -> int:
        """How many responsive workers issue tokens, this one included; 0 before its first heartbeat."""
        return sum(worker.heartbeat.signer != "" for worker in self.responsive_workers())

    def problems(self) -> list[Problem]:
        """The problems that the background tasks of all responsive workers report, each once. This process's own are
        current."""
        own = self._make_heartbeat()
        others = [w.heartbeat.problems for w in self.responsive_workers() if w.heartbeat.worker_id != own.worker_id]
        return list(dict.fromkeys(problem for reported in (own.problems, *others) for problem in reported))

    def worker_counts(self, keys: Version) -> tuple[int, int]:
        """How many workers are responsive, and how many of them do not hold this version of the keys, which must be
        read after the last heartbeat."""
        responsive = [worker.heartbeat for worker in self.responsive_workers()]
        return len(responsive), sum(not heartbeat.has_keys_version(keys) for heartbeat in responsive)
