"""Background task that rotates keys: the process with the rotation lease takes every step that is due.

Invariants
- A run with nothing to do calls neither the store nor IVS, except to renew the lease well before it expires.
- IVS is inspected when a wait ends, when the store reports a change (a rotation request, a compromise, a new policy),
  after a failure with growing pauses, and otherwise every 30 seconds: ListPlaybackKeyPairs is limited to 3 calls per
  second for the whole account and region, which other applications use too.
- A key whose pair IVS has lost signs for less than a minute: an inspection finds it within 30 seconds, the confirmation
  takes 5, and workers learn of it within 2. A restored store is noticed by its versions, and IVS is then inspected.
- What keeps viewers from playing is logged as an error, and a region that could not be completed as a warning: when it
  starts, once a minute while it lasts, and when an inspection finds that it is over (`outages.py`).
- It never sleeps: what has to wait is continued by a later run.
- Problems are held until the next inspection, for heartbeats, metrics and `/v1/status`. What is due is held as an
  instant, so that what is overdue grows in the metrics while IVS cannot be inspected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from tokensvc.clock import Clock
from tokensvc.deployment.record import RotationPolicy
from tokensvc.deployment.workers import RegionStatus
from tokensvc.errors import InvalidRotationPolicy, TokensvcError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import RegionInventory
from tokensvc.keys.lifecycle import KeyState, RegionState, active_placement, drains_at
from tokensvc.keys.reconciler import RegionResult, reconcile
from tokensvc.keys.rotation_policy import check_policy, check_slots
from tokensvc.log import structlog
from tokensvc.metrics import Metrics
from tokensvc.outages import OutageTracker
from tokensvc.problems import Problem, ProblemCode, problem_text
from tokensvc.runner import IDLE, RunResult

INTERVAL_SECONDS = 0.5
"""Interval between runs: the precision with which the end of a wait is noticed."""

MIN_INSPECTION_INTERVAL_SECONDS = 1.0
"""The shortest time between two inspections of IVS: our own steps change the keys too and are reported as changes."""

INSPECTION_INTERVAL_SECONDS = 30.0
"""Interval between inspections of IVS when nothing is known to be due."""

RETRY_SECONDS = 5.0
"""The pause after a first failure. It doubles up to INSPECTION_INTERVAL_SECONDS."""

RENEWALS_PER_LEASE = 6
"""How often within its duration the lease is requested, by the process that holds it and by those that do not."""

_log = structlog.get_logger(__name__)


class _Due(NamedTuple):
    """What becomes due in a region, on the monotonic clock; `inf` for nothing."""

    rotation_at: float
    """When the active key reaches its maximum age."""
    deletion_at: float
    """When the first of the retiring keys has drained."""


_NOTHING_DUE = _Due(math.inf, math.inf)


class RotationLeader:
    """This process's candidate for the rotation lease."""

    def __init__(
        self,
        *,
        make_context: Callable[[], KeysContext],
        regions: Sequence[str],
        clock: Clock,
        metrics: Metrics,
        lease_seconds: float,
    ) -> None:
        self._make_context = make_context
        """Called in each run, because the context has the store's clock as read at that time."""
        self._regions = regions
        self._clock = clock
        self._metrics = metrics
        self._renewal_seconds = lease_seconds / RENEWALS_PER_LEASE
        self._renew_at = self._inspect_at = self._inspected_at = -math.inf
        self._woken = False
        self._failures = 0
        self._is_leader = False
        self._general_problems: tuple[Problem, ...] = ()
        self._region_problems: dict[str, tuple[Problem, ...]] = dict.fromkeys(regions, ())
        self._alarms: dict[str, tuple[Problem, ...]] = {}
        """By region, from the last inspection to which IVS responded."""
        self._region_statuses: dict[str, RegionStatus] = {}
        self._due: dict[str, _Due] = {}
        """By region, from the last inspection to which IVS responded."""
        self._outages = OutageTracker(clock.monotonic)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What an operator should know, from the last inspection."""
        regional = (problem for problems in self._region_problems.values() for problem in problems)
        return tuple(dict.fromkeys((*self._general_problems, *regional)))

    @property
    def region_statuses(self) -> tuple[RegionStatus, ...]:
        """The last known status of each region; empty if another process is the leader."""
        return tuple(self._region_statuses.values())

    def wake(self) -> None:
        """Inspect IVS in the next run, because something changed."""
        self._woken = True

    def run_once(self) -> Literal[RunResult.IDLE] | None:
        """Become the leader if no other process is, and take every step that is due. Raises TokensvcError."""
        now = self._clock.monotonic()
        if self._woken and now >= self._inspected_at + MIN_INSPECTION_INTERVAL_SECONDS:
            self._woken, self._inspect_at = False, -math.inf
        if now < self._renew_at and not (self._is_leader and now >= self._inspect_at):
            return IDLE
        try:
            self._run(now)
        except Exception as error:
            reason, code, remedy = type(error).__name__, "internal_error", None
            if isinstance(error, TokensvcError):
                reason, code, remedy = error.message, error.code, error.remedy
            parameters = {"reason": reason, "error": code}
            self._general_problems = (Problem(ProblemCode.ROTATION_NOT_RUNNING, parameters=parameters, remedy=remedy),)
            raise
        finally:
            general = len(self._general_problems)
            counts = {region: general + len(problems) for region, problems in self._region_problems.items()}
            self._metrics.rotation(self._is_leader, counts)
            self._report_overdue()
        return None

    def stop(self) -> None:
        """Release the lease, after the last run. Raises StoreError."""
        self._make_context().release_lease()

    def _run(self, now: float) -> None:
        context = replace(self._make_context(), sleep=_must_not_sleep, report=_log_step, report_failure=_ignore)
        was_leader, self._is_leader = self._is_leader, context.acquire_lease()
        self._renew_at = now + self._renewal_seconds
        if self._is_leader and not was_leader:
            _log.info("acquired the rotation lease")
            self._inspect_at = -math.inf
        if self._is_leader and now < self._inspect_at:
            return
        results = reconcile(context, self._regions) if self._is_leader else []
        self._is_leader = bool(results)
        if self._is_leader:
            self._process(context, results)
        else:
            self._general_problems, self._region_problems = (), dict.fromkeys(self._region_problems, ())
            self._region_statuses, self._alarms, self._due = {}, {}, {}
            # From now on the new leader logs the outages that last.
            self._outages = OutageTracker(self._clock.monotonic)

    def _process(self, context: KeysContext, results: Sequence[RegionResult]) -> None:
        """Log and hold the results, and schedule the next inspection."""
        policy, ceiling, now = context.policy(), context.deployment.read().max_ttl_seconds, context.now().timestamp()
        self._failures = self._failures + 1 if any(result.error for result in results) else 0
        retry_in = RETRY_SECONDS * 2.0 ** (self._failures - 1) if self._failures else math.inf
        wait_times = [
            r.wait.until.timestamp() - now for r in results if r.wait is not None and r.wait.until is not None
        ]
        next_wait = min((seconds for seconds in wait_times if seconds > 0), default=math.inf)
        self._inspected_at = self._clock.monotonic()
        self._inspect_at = self._inspected_at + min(retry_in, next_wait, INSPECTION_INTERVAL_SECONDS)
        self._log_alarms(results)
        self._log_errors(results)
        self._general_problems = tuple(
            _violations(ProblemCode.INVALID_ROTATION_POLICY, "", lambda: check_policy(policy, ceiling))
        )
        self._region_problems = dict.fromkeys(self._region_problems, ()) | {
            result.region: self._problems_of(result) for result in results
        }
        self._region_statuses |= {
            result.region: _region_status(result, result.inventory, policy, now)
            for result in results
            if result.inventory is not None
        }
        self._due |= {
            result.region: _due_from(result.inventory.region_state, policy, now - self._clock.monotonic())
            for result in results
            if result.inventory is not None
        }

    def _report_overdue(self) -> None:
        now = self._clock.monotonic()
        for region in self._region_problems.keys() | self._due.keys():
            due = self._due.get(region, _NOTHING_DUE)
            self._metrics.overdue(region, max(0.0, now - due.rotation_at), max(0.0, now - due.deletion_at))

    def _log_alarms(self, results: Sequence[RegionResult]) -> None:
        """Log what keeps viewers from playing. If IVS did not respond, the previous alarms still apply."""
        for result in results:
            region, previous = result.region, self._alarms.get(result.region, ())
            alarms = result.alarms if result.inventory is not None else previous
            for alarm in alarms:
                if report := self._outages.record_failure((region, "alarm"), alarm):
                    _log.error(
                        "tokens cannot be issued or are rejected by IVS",
                        region=region,
                        code=str(alarm.code),
                        error=problem_text(alarm),
                        seconds=round(report.seconds, 1),
                    )
            if not alarms and (report := self._outages.record_recovery((region, "alarm"))):
                event = "tokens can be issued and are accepted by IVS again"
                _log.info(event, region=region, seconds=round(report.seconds, 1))
            self._alarms[region] = alarms

    def _log_errors(self, results: Sequence[RegionResult]) -> None:
        """Log which regions could not be completed, and which were completed again."""
        for region, error in ((result.region, result.error) for result in results):
            if error is not None:
                report = self._outages.record_failure(region, (error.code, error.message))
            else:
                report = self._outages.record_recovery(region)
            if report is None:
                continue
            fields = {"region": region, "failures": report.failures, "seconds": round(report.seconds, 1)}
            if error is not None:
                _log.warning("rotation failed in a region", code=error.code, error=error.operator_message, **fields)
            else:
                _log.info("rotation recovered in a region", **fields)

    def _problems_of(self, result: RegionResult) -> tuple[Problem, ...]:
        if result.inventory is None:
            return (*self._alarms.get(result.region, ()), *result.problems)
        if result.region not in self._regions:
            return result.problems
        region, foreign = result.region, result.inventory.region_state.foreign
        too_few = _violations(ProblemCode.TOO_FEW_KEY_SLOTS, region, lambda: check_slots(region, foreign))
        return (*result.problems, *too_few)


def _violations(code: ProblemCode, region: str, check: Callable[[], None]) -> Iterator[Problem]:
    try:
        check()
    except InvalidRotationPolicy as error:
        yield Problem(code, region, {"reason": error.message})


def _region_status(
    result: RegionResult, inventory: RegionInventory, policy: RotationPolicy, now: float
) -> RegionStatus:
    until, action = min(_scheduled_actions(inventory.region_state, policy), default=(None, ""))
    if result.wait is not None:
        until, action = result.wait.until, result.wait.reason
    return RegionStatus(
        region=result.region,
        slots_used=len(inventory.pairs),
        foreign=inventory.region_state.foreign,
        next_action=action,
        next_action_at=until.timestamp() if until is not None else None,
        observed_at=now,
    )


def _due_from(region_state: RegionState, policy: RotationPolicy, store_offset_seconds: float) -> _Due:
    active, rotation_at = active_placement(region_state.placements), math.inf
    if active is not None and active.activated_at is not None and policy.max_age_seconds is not None:
        rotation_at = active.activated_at.timestamp() + policy.max_age_seconds
    draining = [p for p in region_state.placements if p.state is KeyState.RETIRING and p.is_imported]
    deletion_at = min((drains_at(p, policy).timestamp() for p in draining), default=math.inf)
    return _Due(rotation_at - store_offset_seconds, deletion_at - store_offset_seconds)


def _scheduled_actions(region_state: RegionState, policy: RotationPolicy) -> Iterator[tuple[datetime, str]]:
    """What becomes due by the passage of time alone."""
    active = active_placement(region_state.placements)
    if active is not None and active.activated_at is not None and policy.max_age_seconds is not None:
        until = active.activated_at + timedelta(seconds=policy.max_age_seconds)
        yield until, f"key {active.key_id} reaches its maximum age and is replaced"
    for p in region_state.placements:
        if p.state is KeyState.RETIRING and p.is_imported:
            yield drains_at(p, policy), f"the last token of key {p.key_id} expires and its pair is deleted"


def _log_step(step: str) -> None:
    _log.info("rotation step", step=step)


def _ignore(_region: str, _error: TokensvcError) -> None:
    """An error is part of the region's result, and is logged from there as an outage."""


def _must_not_sleep(seconds: float) -> None:
    raise AssertionError(f"a run must not sleep, but tried to sleep for {seconds} seconds")
