"""Tells IVS of one account and region what waits for it, while this process leads there.

Rules of the file
- One process leads, by a lease of the store that it prolongs well before it ends. No call begins once the lease is
  about to end by our own clock, however long we were held up: two leaders would use the rate twice.
- Whoever begins to lead begins with a new dispatcher, whose allowances are used up: the last leader may have used them.
- What was told is settled before anything else, also by one that leads no more; settling is compare-and-set.
- What IVS does not take is counted at once, logged as an outage (`outages.py`) with what it answered, and is trouble
  until it takes something.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tokensvc.aws.arn import AccountRegion
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock
from tokensvc.deployment.leases import HeldLease, Leases
from tokensvc.errors import ControlPlaneUnavailable
from tokensvc.log import structlog
from tokensvc.metrics import Metrics
from tokensvc.outages import OutageTracker
from tokensvc.problems import Problem, ProblemCode
from tokensvc.revocations.dispatcher import DispatchContext, Dispatcher, DispatchResult

LEASE_SECONDS = 15.0
RENEWALS_PER_LEASE = 6
"""How often within its length the lease is asked for, by who has it and by who would have it."""

MAX_CONCURRENT_CALLS = 6
"""Of the eight connections to a region; the others are for channels and keys."""

LEASE_MARGIN_SECONDS = 1.0
"""No call begins so shortly before the lease ends, so that it reaches IVS before whoever leads next makes one."""

_LEASE_PREFIX = "dispatch:"
_log = structlog.get_logger(__name__)


def lease_name(account_region: AccountRegion) -> str:
    """What the lease is called that whoever leads there has."""
    return f"{_LEASE_PREFIX}{account_region.account}:{account_region.region}"


def read_leaders(leases: Leases) -> dict[AccountRegion, HeldLease]:
    """Who leads where now; each holder is a worker's id. Raises StoreError."""
    found = {}
    for name, held in leases.all_held(_LEASE_PREFIX).items():
        account, _, region = name.removeprefix(_LEASE_PREFIX).partition(":")
        found[AccountRegion(account, region)] = held._replace(holder=held.holder.rpartition(":")[0])
    return found


class RevocationLeader:
    """One process's share in the revocations of a place."""

    def __init__(
        self,
        *,
        account_region: AccountRegion,
        context: DispatchContext,
        leases: Leases,
        holder: str,
        metrics: Metrics,
        rate_fraction: float,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`holder` is the worker's id, a colon, and a number that no other `RevocationLeader` of the worker has."""
        self._account_region = account_region
        self._clock = context.clock
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_CALLS, f"revocations-{account_region.region}")
        plane = _LeaseGuard(context.control_plane, self._clock, self)
        self._context = replace(context, control_plane=plane, map_concurrently=self._threads.map)
        self._leases = leases
        self._lease = lease_name(account_region)
        self._holder = holder
        self._metrics = metrics
        self._rate_fraction = rate_fraction
        self._lease_seconds = lease_seconds
        self._dispatcher: Dispatcher | None = None
        self.lease_expires_at = -math.inf
        """When our lease ends, on our monotonic clock."""
        self._next_acquire_at = -math.inf
        self._unreported_errors: Counter[str] = Counter()
        self._outages = OutageTracker(self._clock.monotonic)
        self.problems: tuple[Problem, ...] = ()
        """What an operator should know, while anything waits."""

    @property
    def is_leader(self) -> bool:
        """Whether this process has the lease."""
        return self._dispatcher is not None

    def run_once(self) -> float:
        """Tell IVS what may be told now, if this process leads; how many seconds until there may be more to do.

        Raises StoreError, and then the next run settles what was told.
        """
        now = self._clock.monotonic()
        if now >= self._next_acquire_at or (self.is_leader and now >= self.lease_expires_at):
            self._acquire(now)
        if self._dispatcher is None:
            return max(0.0, self._next_acquire_at - now)
        done = self._dispatcher.run_once()
        now = self._clock.monotonic()
        self._report(done)
        return max(0.0, min(done.next_run_in_seconds, self._next_acquire_at - now))

    def reacquire_lease(self) -> None:
        """Ask for the lease in the next run: the store was replaced, and the present one may have given it to another.
        Returns at once, in any thread."""
        self._next_acquire_at = -math.inf

    def stop(self) -> None:
        """Settle what was told and give the lease up, when nothing runs any more. Raises StoreError."""
        self._threads.shutdown(wait=False)
        self._step_down()
        self._leases.release(self._lease, self._holder)

    def _acquire(self, now: float) -> None:
        """Take the lease, or prolong it."""
        granted = self._leases.acquire(self._lease, self._holder, self._lease_seconds)
        if now >= self.lease_expires_at or not granted:  # another may have led meanwhile
            self._step_down()
        self._next_acquire_at = now + self._lease_seconds / RENEWALS_PER_LEASE
        if not granted:
            self.lease_expires_at = -math.inf
            return
        self.lease_expires_at = now + self._lease_seconds
        if self._dispatcher is None:
            _log.info("this worker tells IVS of revocations now", region=self._account_region.region)
            self._dispatcher = Dispatcher(self._context, self._account_region, self._rate_fraction)

    def _step_down(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.flush()
            self._dispatcher, self.problems = None, ()

    def _report(self, done: DispatchResult) -> None:
        self._metrics.revocations_dispatched(done.sent, done.failed, done.deferred, done.errors_by_code)
        if done.sent:
            self.problems = ()
        elif done.deferred:
            codes = {"ivs_codes": ", ".join(sorted(done.errors_by_code))}
            self.problems = (Problem(ProblemCode.REVOCATIONS_REJECTED, self._account_region.region, codes),)
        self._unreported_errors.update(done.errors_by_code)
        region, report = self._account_region.region, None
        if done.errors_by_code:
            report = self._outages.record_failure(region, frozenset(done.errors_by_code))
        elif done.sent and (report := self._outages.record_recovery(region)):
            self._unreported_errors.clear()
            _log.info("IVS takes revocations again", region=region, seconds=round(report.seconds, 1))
            return
        if report is not None:
            seconds = round(report.seconds, 1)
            _log.warning(
                "IVS did not take every revocation", region=region, codes=dict(self._unreported_errors), seconds=seconds
            )
            self._unreported_errors.clear()


class _LeaseGuard:
    """The control plane, as long as the lease lasts."""

    def __init__(self, control_plane: ControlPlane, clock: Clock, leading: RevocationLeader) -> None:
        self._control_plane = control_plane
        self._clock = clock
        self._leader = leading

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._clock.monotonic() >= self._leader.lease_expires_at - LEASE_MARGIN_SECONDS:
            raise ControlPlaneUnavailable("this worker leads no more", operation=operation, ivs_code="LeaseOver")
        return self._control_plane.call(region, operation, request)
