"""Tells the store that this process works and what it goes by, and reads what its fellows tell.

Rules of the file
- How long a key drains follows from the longest lease and store timeout that any worker tells. So a worker tells its
  own before it may sign for the first time. Later it signs on when telling fails: its snapshot's
  lease is what ends that.
- Who stops says goodbye; who was killed falls silent. What a silent fellow said last is no news.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Heartbeat, Worker, Workers
from tokensvc.problems import Problem

INTERVAL_SECONDS = 5.0
UNRESPONSIVE_AFTER_SECONDS = 30.0
"""After six beats left out a fellow is taken for silent."""


class Heartbeats:
    """This process's heartbeat and those of its fellows."""

    def __init__(self, workers: Workers, say: Callable[[], Heartbeat]) -> None:
        self._workers = workers
        self._say = say
        self._is_introduced = False
        self._fellows: Sequence[Worker] = ()
        """All that were there at the last beat, this one among them."""

    def ensure_registered(self) -> None:
        """Beat, unless it was done before. Raises StoreError, and then this process must not sign."""
        if not self._is_introduced:
            self.run_once()

    def register_again(self) -> None:
        """Beat although it was done before: the store was replaced, and the present one may not know this process,
        whose lease then counts in no drain. Raises StoreError, and then the next `introduce` beats."""
        self._is_introduced = False
        self.ensure_registered()

    def run_once(self) -> None:
        """Beat, and read what the others say. Raises StoreError."""
        self._workers.record_heartbeat(self._say())
        self._is_introduced = True
        self._fellows = self._workers.list()

    def deregister(self) -> None:
        """Say goodbye, when nothing beats any more. Raises StoreError."""
        self._workers.deregister(self._say().worker_id)

    def responsive_workers(self) -> list[Worker]:
        """Who was not silent at the last beat, on the store's clock."""
        newest = max((worker.last_heartbeat_at for worker in self._fellows), default=None)
        return [
            w
            for w in self._fellows
            if newest and (newest - w.last_heartbeat_at).total_seconds() <= UNRESPONSIVE_AFTER_SECONDS
        ]

    def problems(self) -> list[Problem]:
        """What the background duties of all who work report, each problem once; our own as it is now."""
        mine = self._say()
        others = [w.heartbeat.problems for w in self.responsive_workers() if w.heartbeat.worker_id != mine.worker_id]
        return list(dict.fromkeys(problem for told in (mine.problems, *others) for problem in told))

    def count(self, keys: Version) -> tuple[int, int]:
        """How many work, and how many of them do not hold this version of the keys, read after the last beat."""
        present = [worker.heartbeat for worker in self.responsive_workers()]
        return len(present), sum(not said.has_keys_version(keys) for said in present)
