"""Sees to it that whatever waits for IVS is told to it: in each account and region somebody leads.

Rules of the file
- Places are found in the queue, so a new one needs no setting, but only those in which the deployment works are served:
  what waits for another one gets no thread, no lease and no client. It stays queued, since what was accepted is not
  dropped because a key is missing here, and is reported until the region is configured or the revocation cancelled.
  Each has a thread of its own: a region whose IVS hangs
  delays no other.
- The queue is counted once a second by who leads, and less often by who does not, for a count reads all that waits.
- A place for which nothing was waiting for a while is given up, lease and all. Where all that may be served are, one
  where nothing waits, or whose IVS takes nothing, gives way to one that waits: a region that is misspelt or down keeps
  no other one from its turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import Clock
from tokensvc.errors import Action, Remedy
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.problems import Problem, ProblemCode
from tokensvc.revocations.dispatcher import ServedRegions
from tokensvc.revocations.leader import RevocationLeader
from tokensvc.revocations.queue import Backlog, RevocationQueue
from tokensvc.runner import IDLE, BackgroundTask, RunResult, stop_all

EVERY_SECONDS = 0.5
"""How soon a new place is found."""

LEADER_COUNT_SECONDS = 1.0
FOLLOWER_COUNT_SECONDS = 5.0

IDLE_REGION_SECONDS = 300.0
"""A place stays taken for so long after the last revocation, so that the next one need not wait for an election."""

REGIONS_MAX = 50
"""Served at a time. A deployment has an account and a few regions; a caller that names more makes them take turns."""

UNSERVED_REPORTED_MAX = 3
"""Problems are shown to people, and an account and region of the queue may be anything."""

LATE_SECONDS = 60.0
"""An entry that waited for so long is trouble: IVS is away, or there are more than it allows to tell in that time."""


class _ServedRegion(NamedTuple):
    leading: RevocationLeader
    loop: BackgroundTask


class RevocationScheduler:
    """One process's share in telling IVS of revocations."""

    def __init__(
        self,
        *,
        queue: RevocationQueue,
        lead: Callable[[AccountRegion], RevocationLeader],
        regions: ServedRegions,
        clock: Clock,
        metrics: Metrics,
        failure_log: FailureLog | None = None,
    ) -> None:
        self._queue = queue
        self._lead = lead
        self._regions = regions
        self._unserved: Mapping[AccountRegion, Backlog] = {}
        """Where something waits and this deployment does not work."""
        self._clock = clock
        self._metrics = metrics
        self._failure_log = failure_log or FailureLog(clock.monotonic)
        self._served: dict[AccountRegion, _ServedRegion] = {}
        self._waited_at: dict[AccountRegion, float] = {}
        """When something was last seen waiting in a place that is served."""
        self._waiting: Mapping[AccountRegion, Backlog] = {}
        self._look_again_at = -math.inf

    def wake(self) -> None:
        """Look at once: something may have been accepted. Returns at once."""
        self._look_again_at = -math.inf
        for served in list(self._served.values()):
            served.loop.wake()

    def reacquire_leases(self) -> None:
        """Let every place's lease be asked for again, since the store was replaced. Returns at once."""
        for served in list(self._served.values()):
            served.leading.reacquire_lease()
        self.wake()

    def run_once(self) -> Literal[RunResult.IDLE] | None:
        """Count what waits, and serve every place where anything does. Raises StoreError."""
        now = self._clock.monotonic()
        if now < self._look_again_at:
            return IDLE
        leads = any(served.leading.is_leader for served in self._served.values())
        self._look_again_at = now + (LEADER_COUNT_SECONDS if leads else FOLLOWER_COUNT_SECONDS)
        waiting = self._waiting = self._queue.backlogs()
        self._metrics.revocation_queue(
            sum(there.queued for there in waiting.values()),
            max((there.oldest_seconds for there in waiting.values()), default=0.0),
        )
        is_served = self._regions.checker()
        self._unserved = {place: there for place, there in waiting.items() if not is_served(place)}
        places = [place for place in waiting if place not in self._unserved]
        for place in sorted(places, key=lambda account_region: -waiting[account_region].oldest_seconds):
            if place not in self._served and self._has_room(waiting):
                self._begin(place)
            if place in self._served:
                self._waited_at[place] = now
        for place in [place for place, at in self._waited_at.items() if now - at > IDLE_REGION_SECONDS]:
            self._end(place)
        return None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What an operator should know of the places that this process leads in, and of those that nobody serves."""
        led = tuple(problem for place, there in self._waiting.items() for problem in self._trouble(place, there))
        return led + tuple(
            Problem(
                ProblemCode.REVOCATIONS_UNSERVED,
                place.region,
                {"account": place.account, "queued": str(there.queued)},
                Remedy(Action.CONFIGURE_REGION, {"region": place.region}),
            )
            for place, there in sorted(self._unserved.items())[:UNSERVED_REPORTED_MAX]
        )

    def stop(self) -> None:
        """Stop telling, settle, and give every lease up."""
        stop_all([served.loop for served in self._served.values()])

    def _trouble(self, account_region: AccountRegion, there: Backlog) -> tuple[Problem, ...]:
        served = self._served.get(account_region)
        if served is None or not served.leading.is_leader:
            return ()
        figures = {"queued": str(there.queued), "oldest_seconds": f"{there.oldest_seconds:.0f}"}
        late = Problem(ProblemCode.REVOCATIONS_LATE, account_region.region, figures)
        return (*served.leading.problems, *([late] if there.oldest_seconds > LATE_SECONDS else ()))

    def _has_room(self, waiting: Mapping[AccountRegion, Backlog]) -> bool:
        """Whether one more may be served, now that whoever has least use of its turn gave way."""
        if len(self._served) < REGIONS_MAX:
            return True
        in_vain = (place for place, there in self._served.items() if place not in waiting or there.leading.problems)
        if (place := next(in_vain, None)) is None:  # the first of them has been served longest
            return False
        self._end(place)
        return True

    def _begin(self, account_region: AccountRegion) -> None:
        leading = self._lead(account_region)
        loop = BackgroundTask(
            "dispatch",
            leading.run_once,
            every_seconds=EVERY_SECONDS,
            backoff_max_seconds=FOLLOWER_COUNT_SECONDS,
            on_failure=self._metrics.task_failed,
            on_stop=leading.stop,
            failure_log=self._failure_log,
            log_name=f"dispatch {account_region.account} {account_region.region}",
        )
        self._served[account_region] = _ServedRegion(leading, loop)
        loop.start()

    def _end(self, account_region: AccountRegion) -> None:
        del self._waited_at[account_region]
        self._served.pop(account_region).loop.request_stop()
