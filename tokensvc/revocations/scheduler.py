"""Runs a revocation leader in each account and region that has revocations queued.

Invariants
- Accounts and regions are read from the queue, so a new one needs no setting. Only those that the deployment serves get
  a leader; others get no thread, lease or client. Their entries stay queued, since an accepted revocation must not be
  lost because a key is missing here, and are reported until the region is configured or the revocation is cancelled.
- Each region has a thread of its own, so a region whose IVS hangs delays no other.
- A leader counts the queue once a second, other processes less often, because a count reads everything that is queued.
- A region that had nothing queued for a while is released with its lease. At REGIONS_MAX, a region with nothing queued,
  or whose IVS accepts nothing, is replaced by one that waits: a misspelt or unavailable region blocks no other.
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
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.leader import RevocationLeader
from tokensvc.revocations.queue import Backlog, RevocationQueue
from tokensvc.runner import IDLE, BackgroundTask, ObserveTask, RunResult, stop_all, unobserved

INTERVAL_SECONDS = 0.5
"""How soon a new account and region is found."""

LEADER_COUNT_SECONDS = 1.0
FOLLOWER_COUNT_SECONDS = 5.0

IDLE_REGION_SECONDS = 300.0
"""A leader keeps its lease this long after the last revocation, so that the next one need not wait for an election."""

REGIONS_MAX = 50
"""Accounts and regions served at a time. A deployment has one account and a few regions; more than this take turns."""

UNSERVED_REPORTED_MAX = 3
"""Problems are shown to people, and the queue may contain any number of account and region names."""

LATE_SECONDS = 60.0
"""An entry that has waited this long is a problem: IVS is unavailable, or the queue grows faster than IVS's rates."""


class _ServedRegion(NamedTuple):
    leader: RevocationLeader
    task: BackgroundTask


class RevocationScheduler:
    """Starts and stops this process's revocation leaders as the queue requires."""

    def __init__(
        self,
        *,
        queue: RevocationQueue,
        make_leader: Callable[[AccountRegion], RevocationLeader],
        regions: ServedRegions,
        clock: Clock,
        metrics: Metrics,
        failure_log: FailureLog | None = None,
        observe_task: ObserveTask = unobserved,
    ) -> None:
        self._queue = queue
        self._make_leader = make_leader
        self._regions = regions
        self._unserved: Mapping[AccountRegion, Backlog] = {}
        """Backlogs of accounts and regions that this deployment does not serve."""
        self._clock = clock
        self._metrics = metrics
        self._failure_log = failure_log or FailureLog(clock.monotonic)
        self._observe_task = observe_task
        self._served: dict[AccountRegion, _ServedRegion] = {}
        self._last_queued_at: dict[AccountRegion, float] = {}
        """When a served account and region last had a backlog."""
        self._backlogs: Mapping[AccountRegion, Backlog] = {}
        self._next_count_at = -math.inf

    def wake(self) -> None:
        """Run now, because a revocation may have been accepted. Returns immediately."""
        self._next_count_at = -math.inf
        for served in list(self._served.values()):
            served.task.wake()

    def reacquire_leases(self) -> None:
        """Have every leader acquire its lease again, because the store was replaced. Returns immediately."""
        for served in list(self._served.values()):
            served.leader.reacquire_lease()
        self.wake()

    def run_once(self) -> Literal[RunResult.IDLE] | None:
        """Count the queue and start a leader wherever revocations wait. Raises StoreError."""
        now = self._clock.monotonic()
        if now < self._next_count_at:
            return IDLE
        is_leader = any(served.leader.is_leader for served in self._served.values())
        self._next_count_at = now + (LEADER_COUNT_SECONDS if is_leader else FOLLOWER_COUNT_SECONDS)
        backlogs = self._backlogs = self._queue.backlogs()
        self._metrics.revocation_queue(
            sum(backlog.queued for backlog in backlogs.values()),
            max((backlog.oldest_age_seconds for backlog in backlogs.values()), default=0.0),
        )
        is_served = self._regions.checker()
        self._unserved = {found: backlog for found, backlog in backlogs.items() if not is_served(found)}
        served = [found for found in backlogs if found not in self._unserved]
        for account_region in sorted(served, key=lambda found: -backlogs[found].oldest_age_seconds):
            if account_region not in self._served and self._has_room(backlogs):
                self._start_serving(account_region)
            if account_region in self._served:
                self._last_queued_at[account_region] = now
        for idle in [found for found, at in self._last_queued_at.items() if now - at > IDLE_REGION_SECONDS]:
            self._stop_serving(idle)
        return None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Problems of the accounts and regions that this process leads, and of those that nobody serves."""
        led = tuple(problem for item in self._backlogs.items() for problem in self._problems_of(*item))
        return led + tuple(
            Problem(
                ProblemCode.REVOCATIONS_UNSERVED,
                account_region.region,
                {"account": account_region.account, "queued": str(backlog.queued)},
                Remedy(Action.CONFIGURE_REGION, {"region": account_region.region}),
            )
            for account_region, backlog in sorted(self._unserved.items())[:UNSERVED_REPORTED_MAX]
        )

    def stop(self) -> None:
        """Stop dispatching, record the remaining outcomes and release every lease."""
        stop_all([served.task for served in self._served.values()])

    def _problems_of(self, account_region: AccountRegion, backlog: Backlog) -> tuple[Problem, ...]:
        served = self._served.get(account_region)
        if served is None or not served.leader.is_leader:
            return ()
        parameters = {"queued": str(backlog.queued), "oldest_age_seconds": f"{backlog.oldest_age_seconds:.0f}"}
        late = Problem(ProblemCode.REVOCATIONS_LATE, account_region.region, parameters)
        return (*served.leader.problems, *([late] if backlog.oldest_age_seconds > LATE_SECONDS else ()))

    def _has_room(self, backlogs: Mapping[AccountRegion, Backlog]) -> bool:
        """Whether one more may be served. At the limit, stops the one that needs its place least, if there is one."""
        if len(self._served) < REGIONS_MAX:
            return True
        replaceable = (a for a, served in self._served.items() if a not in backlogs or served.leader.problems)
        if (account_region := next(replaceable, None)) is None:  # the first of them has been served longest
            return False
        self._stop_serving(account_region)
        return True

    def _start_serving(self, account_region: AccountRegion) -> None:
        leader = self._make_leader(account_region)
        task = BackgroundTask(
            "dispatch",
            leader.run_once,
            every_seconds=INTERVAL_SECONDS,
            backoff_max_seconds=FOLLOWER_COUNT_SECONDS,
            on_failure=self._metrics.task_failed,
            on_stop=leader.stop,
            failure_log=self._failure_log,
            observe=self._observe_task,
            log_name=f"dispatch {account_region.account} {account_region.region}",
        )
        self._served[account_region] = _ServedRegion(leader, task)
        task.start()

    def _stop_serving(self, account_region: AccountRegion) -> None:
        del self._last_queued_at[account_region]
        self._served.pop(account_region).task.request_stop()
