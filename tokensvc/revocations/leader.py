"""Dispatches the revocations of one account and region while this process is its leader.

Invariants
- One process leads, by a lease in the store that it renews well before it expires. No call begins shortly before the
  lease expires by our own clock, however long the process was suspended: two leaders would use the rate twice.
- A new leader starts with a new dispatcher, whose rate limits are exhausted: the last leader may have used them up.
- Outcomes of what was sent are recorded before anything else, even by a former leader; recording is compare-and-set.
- Rejected revocations are counted immediately, logged as an outage (`outages.py`) with IVS's codes, and reported as a
  problem until IVS accepts a revocation again.
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
"""How many times within the lease's length its holder renews it and the others try to acquire it."""

MAX_CONCURRENT_CALLS = 6
"""Of the eight connections to a region; the others are reserved for channels and keys."""

LEASE_MARGIN_SECONDS = 1.0
"""No call begins in this last part of the lease, so that it reaches IVS before the next leader makes one."""

_LEASE_PREFIX = "dispatch:"
_log = structlog.get_logger(__name__)


def lease_name(account_region: AccountRegion) -> str:
    """The name of the leader's lease."""
    return f"{_LEASE_PREFIX}{account_region.account}:{account_region.region}"


def read_leaders(leases: Leases) -> dict[AccountRegion, HeldLease]:
    """The current leaders; each holder is a worker's id. Raises StoreError."""
    found = {}
    for name, held in leases.all_held(_LEASE_PREFIX).items():
        account, _, region = name.removeprefix(_LEASE_PREFIX).partition(":")
        found[AccountRegion(account, region)] = held._replace(holder=held.holder.rpartition(":")[0])
    return found


class RevocationLeader:
    """One process's candidate for leading the revocations of one account and region."""

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
        guarded = _LeaseGuard(context.control_plane, self._clock, self)
        self._context = replace(context, control_plane=guarded, map_concurrently=self._threads.map)
        self._leases = leases
        self._lease = lease_name(account_region)
        self._holder = holder
        self._metrics = metrics
        self._rate_fraction = rate_fraction
        self._lease_seconds = lease_seconds
        self._dispatcher: Dispatcher | None = None
        self.lease_expires_at = -math.inf
        """When our lease expires, on the monotonic clock."""
        self._next_acquire_at = -math.inf
        self._unreported_errors: Counter[str] = Counter()
        self._outages = OutageTracker(self._clock.monotonic)
        self.problems: tuple[Problem, ...] = ()
        """Problems for operators, while anything is queued."""

    @property
    def is_leader(self) -> bool:
        """Whether this process holds the lease."""
        return self._dispatcher is not None

    def run_once(self) -> float:
        """Dispatch what may be sent now, if this process is the leader. Returns in how many seconds to run again.

        Raises StoreError; the next run then records the outcomes of what was sent.
        """
        now = self._clock.monotonic()
        if now >= self._next_acquire_at or (self.is_leader and now >= self.lease_expires_at):
            self._acquire(now)
        if self._dispatcher is None:
            return max(0.0, self._next_acquire_at - now)
        result = self._dispatcher.run_once()
        now = self._clock.monotonic()
        self._report(result)
        return max(0.0, min(result.next_run_in_seconds, self._next_acquire_at - now))

    def reacquire_lease(self) -> None:
        """Acquire the lease again in the next run, because the store was replaced and may now record another holder.
        Returns immediately; callable from any thread."""
        self._next_acquire_at = -math.inf

    def stop(self) -> None:
        """Record the remaining outcomes and release the lease; call it when no run is in progress. Raises
        StoreError."""
        self._threads.shutdown(wait=False)
        self._step_down()
        self._leases.release(self._lease, self._holder)

    def _acquire(self, now: float) -> None:
        """Acquire or renew the lease."""
        granted = self._leases.acquire(self._lease, self._holder, self._lease_seconds)
        if now >= self.lease_expires_at or not granted:  # another may have led meanwhile
            self._step_down()
        self._next_acquire_at = now + self._lease_seconds / RENEWALS_PER_LEASE
        if not granted:
            self.lease_expires_at = -math.inf
            return
        self.lease_expires_at = now + self._lease_seconds
        if self._dispatcher is None:
            _log.info("now dispatching revocations to IVS", region=self._account_region.region)
            self._dispatcher = Dispatcher(self._context, self._account_region, self._rate_fraction)

    def _step_down(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.flush()
            self._dispatcher, self.problems = None, ()

    def _report(self, result: DispatchResult) -> None:
        self._metrics.revocations_dispatched(result.sent, result.failed, result.deferred, result.errors_by_code)
        if result.sent:
            self.problems = ()
        elif result.deferred:
            codes = {"ivs_codes": ", ".join(sorted(result.errors_by_code))}
            self.problems = (Problem(ProblemCode.REVOCATIONS_REJECTED, self._account_region.region, codes),)
        self._unreported_errors.update(result.errors_by_code)
        region, report = self._account_region.region, None
        if result.errors_by_code:
            report = self._outages.record_failure(region, frozenset(result.errors_by_code))
        elif result.sent and (report := self._outages.record_recovery(region)):
            self._unreported_errors.clear()
            _log.info("IVS accepts revocations again", region=region, seconds=round(report.seconds, 1))
            return
        if report is not None:
            seconds = round(report.seconds, 1)
            _log.warning(
                "IVS did not accept every revocation",
                region=region,
                codes=dict(self._unreported_errors),
                seconds=seconds,
            )
            self._unreported_errors.clear()


class _LeaseGuard:
    """The control plane, usable only while the lease is valid."""

    def __init__(self, control_plane: ControlPlane, clock: Clock, leader: RevocationLeader) -> None:
        self._control_plane = control_plane
        self._clock = clock
        self._leader = leader

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._clock.monotonic() >= self._leader.lease_expires_at - LEASE_MARGIN_SECONDS:
            raise ControlPlaneUnavailable(
                "this worker's dispatch lease has expired", operation=operation, ivs_code="LeaseExpired"
            )
        return self._control_plane.call(region, operation, request)
