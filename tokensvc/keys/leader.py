"""Rotates keys by itself: whoever has the lease takes every step that is due, and looks again when one may be.

Rules of the file
- A run that has nothing to do asks nobody anything, but for the lease, which is prolonged well before it ends.
- IVS is looked at when a wait ends, when the store says that something changed (a wish, a compromise, a new policy),
  after a failure at growing pauses, and else every 30 seconds: ListPlaybackKeyPairs takes 3 calls a second for the
  whole account and region, and others use them too.
- A key whose pair IVS has lost signs for less than a minute: a look finds it within 30 seconds, the proof takes 5, and
  workers learn of it within 2. A restored store is noticed by its versions, and IVS is looked at at once.
- What keeps viewers from playing is an ERROR in the log, and a region that could not be gone through a warning: each
  when it starts, once a minute, and when a look finds that it is over (`outages.py`).
- It never sleeps: what waits is taken up by a later run.
- What an operator should know is kept until the next look, for heartbeats, metrics and `/v1/status`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from tokensvc.clock import Clock
from tokensvc.deployment.record import RotationPolicy
from tokensvc.deployment.workers import RegionStatus
from tokensvc.errors import InvalidRotationPolicy, TokensvcError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.lifecycle import KeyState, RegionState, active_placement, drains_at
from tokensvc.keys.reconciler import RegionResult, reconcile
from tokensvc.keys.rotation_policy import check_policy, check_slots
from tokensvc.log import structlog
from tokensvc.metrics import Metrics
from tokensvc.outages import OutageTracker
from tokensvc.problems import Problem, ProblemCode, problem_text
from tokensvc.runner import IDLE, RunResult

INTERVAL_SECONDS = 0.5
"""How exactly the end of a wait is met."""

MIN_INSPECTION_INTERVAL_SECONDS = 1.0
"""The least between two looks at IVS: our own steps change the keys too, and are heard of like anybody's."""

INSPECTION_INTERVAL_SECONDS = 30.0
"""How often IVS is looked at when nothing is known to be due."""

RETRY_SECONDS = 5.0
"""The pause after a first failure; it doubles up to INSPECTION_INTERVAL_SECONDS."""

RENEWALS_PER_LEASE = 6
"""How often within its length the lease is asked for, by who has it and by who would have it."""

_log = structlog.get_logger(__name__)


class RotationLeader:
    """One process's share in the lifecycle of keys."""

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
        """Asked in each run: the context's clock is the store's, read anew."""
        self._regions = regions
        self._clock = clock
        self._metrics = metrics
        self._beat_seconds = lease_seconds / RENEWALS_PER_LEASE
        self._lead_again_at = self._look_again_at = self._looked_at = -math.inf
        self._woken = False
        self._failures = 0
        self._leads = False
        self._general: tuple[Problem, ...] = ()
        self._regional: dict[str, tuple[Problem, ...]] = dict.fromkeys(regions, ())
        self._alarms: dict[str, tuple[Problem, ...]] = {}
        """By region, as of the last look that IVS answered."""
        self._region_statuses: dict[str, RegionStatus] = {}
        self._outages = OutageTracker(clock.monotonic)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What an operator should know, as of the last look."""
        return tuple(dict.fromkeys((*self._general, *(one for told in self._regional.values() for one in told))))

    @property
    def region_statuses(self) -> tuple[RegionStatus, ...]:
        """What was last seen of each region; nothing where another process performs."""
        return tuple(self._region_statuses.values())

    def wake(self) -> None:
        """Look in the next run, whatever the time: something changed."""
        self._woken = True

    def run_once(self) -> Literal[RunResult.IDLE] | None:
        """Lead if nobody else does, and take every step that is due. Raises TokensvcError."""
        now = self._clock.monotonic()
        if self._woken and now >= self._looked_at + MIN_INSPECTION_INTERVAL_SECONDS:
            self._woken, self._look_again_at = False, -math.inf
        if now < self._lead_again_at and not (self._leads and now >= self._look_again_at):
            return IDLE
        try:
            self._run(now)
        except Exception as problem:
            reason, code, remedy = type(problem).__name__, "internal_error", None
            if isinstance(problem, TokensvcError):
                reason, code, remedy = problem.message, problem.code, problem.remedy
            parameters = {"reason": reason, "error": code}
            self._general = (Problem(ProblemCode.ROTATION_NOT_RUNNING, parameters=parameters, remedy=remedy),)
            raise
        finally:
            counts = {region: len(self._general) + len(told) for region, told in self._regional.items()}
            self._metrics.rotation(self._leads, counts)
        return None

    def stop(self) -> None:
        """Give the lease up, when nothing runs any more. Raises StoreError."""
        self._make_context().release_lease()

    def _run(self, now: float) -> None:
        context = replace(self._make_context(), sleep=_never, report=_log_step, report_failure=_leave_to_outlook)
        led, self._leads = self._leads, context.acquire_lease()
        self._lead_again_at = now + self._beat_seconds
        if self._leads and not led:
            _log.info("this worker performs rotations now")
            self._look_again_at = -math.inf
        if self._leads and now < self._look_again_at:
            return
        results = reconcile(context, self._regions) if self._leads else []
        self._leads = bool(results)
        if self._leads:
            self._take_in(context, results)
        else:
            self._general, self._regional, self._region_statuses = (), dict.fromkeys(self._regional, ()), {}
            self._alarms = {}
            self._outages = OutageTracker(
                self._clock.monotonic
            )  # what lasts is logged by the process that performs now

    def _take_in(self, context: KeysContext, results: Sequence[RegionResult]) -> None:
        """Keep what there is to tell, and choose when to look again."""
        policy, ceiling, now = context.policy(), context.deployment.read().max_ttl_seconds, context.now().timestamp()
        self._failures = self._failures + 1 if any(o.error for o in results) else 0
        pause = (
            min(RETRY_SECONDS * 2.0 ** (self._failures - 1), INSPECTION_INTERVAL_SECONDS)
            if self._failures
            else math.inf
        )
        waits = [o.wait.until.timestamp() - now for o in results if o.wait is not None and o.wait.until is not None]
        soonest = min((seconds for seconds in waits if seconds > 0), default=math.inf)
        self._looked_at = self._clock.monotonic()
        self._look_again_at = self._looked_at + min(pause, soonest, INSPECTION_INTERVAL_SECONDS)
        self._alarm(results)
        self._log_failures(results)
        self._general = tuple(_refused(ProblemCode.INVALID_ROTATION_POLICY, "", lambda: check_policy(policy, ceiling)))
        self._regional = dict.fromkeys(self._regional, ()) | {o.region: self._told(o) for o in results}
        self._region_statuses |= {o.region: _news_of(o, policy, now) for o in results if o.inventory is not None}

    def _alarm(self, results: Sequence[RegionResult]) -> None:
        """Log what keeps viewers from playing; where IVS did not answer, what was so before."""
        for result in results:
            region, before = result.region, self._alarms.get(result.region, ())
            alarms = result.alarms if result.inventory is not None else before
            for alarm in alarms:
                if report := self._outages.record_failure((region, "alarm"), alarm):
                    seconds, words = round(report.seconds, 1), problem_text(alarm)
                    event = "tokens cannot be issued, or IVS refuses them"
                    _log.error(event, region=region, code=str(alarm.code), problem=words, seconds=seconds)
            if not alarms and (report := self._outages.record_recovery((region, "alarm"))):
                seconds = round(report.seconds, 1)
                _log.info("tokens are issued again that IVS admits", region=region, seconds=seconds)
            self._alarms[region] = alarms

    def _log_failures(self, results: Sequence[RegionResult]) -> None:
        """Log which regions could not be gone through to their end, and which can be again."""
        for region, error in ((result.region, result.error) for result in results):
            if error is not None:
                report = self._outages.record_failure(region, (error.code, error.message))
                event = "rotation fails in a region"
            else:
                report, event = self._outages.record_recovery(region), "rotation works again in a region"
            if report is None:
                continue
            fields = {"region": region, "failures": report.failures, "seconds": round(report.seconds, 1)}
            if error is not None:
                _log.warning(event, code=error.code, problem=error.operator_message, **fields)
            else:
                _log.info(event, **fields)

    def _told(self, result: RegionResult) -> tuple[Problem, ...]:
        if result.inventory is None or result.region not in self._regions:
            return (
                (*self._alarms.get(result.region, ()), *result.problems)
                if result.inventory is None
                else result.problems
            )
        region, foreign = result.region, result.inventory.region_state.foreign
        too_few = _refused(ProblemCode.TOO_FEW_KEY_SLOTS, region, lambda: check_slots(region, foreign))
        return (*result.problems, *too_few)


def _refused(code: ProblemCode, region: str, check: Callable[[], None]) -> Iterator[Problem]:
    try:
        check()
    except InvalidRotationPolicy as refusal:
        yield Problem(code, region, {"reason": refusal.message})


def _news_of(result: RegionResult, policy: RotationPolicy, now: float) -> RegionStatus:
    assert result.inventory is not None  # noqa: S101 - its one caller has just seen to it
    standing = result.inventory.region_state
    until, why = min(_ahead(standing, policy), default=(None, ""))
    if result.wait is not None:
        until, why = result.wait.until, result.wait.reason
    at = until.timestamp() if until is not None else None
    return RegionStatus(
        region=result.region,
        slots_used=len(result.inventory.pairs),
        foreign=standing.foreign,
        next_action=why,
        next_action_at=at,
        observed_at=now,
    )


def _ahead(region_state: RegionState, policy: RotationPolicy) -> Iterator[tuple[datetime, str]]:
    """What becomes due by time alone."""
    active = active_placement(region_state.placements)
    if active is not None and active.activated_at is not None and policy.max_age_seconds is not None:
        until = active.activated_at + timedelta(seconds=policy.max_age_seconds)
        yield until, f"key {active.key_id} has signed for as long as it may, and the next one takes over"
    for pair in region_state.placements:
        if pair.state is KeyState.RETIRING and pair.is_imported:
            yield drains_at(pair, policy), f"the last token of key {pair.key_id} has ended, and its pair goes"


def _log_step(words: str) -> None:
    _log.info("rotation", step=words)


def _leave_to_outlook(_region: str, _failure: TokensvcError) -> None:
    """A failure is in the region's outlook, from where it is logged as an outage."""


def _never(seconds: float) -> None:
    raise AssertionError(f"asked to sleep {seconds} seconds: what waits is taken up by a later run")
