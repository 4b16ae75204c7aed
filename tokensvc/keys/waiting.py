"""Waiting until a request is done, whether this process or another one is the rotation leader.

Invariants
- A region that is blocked is given up and does not delay the others. Its request stays pending, and the rotation leader
  completes it later.
- If another process is the rotation leader, this one waits for it, and reports what the leader waits for and the
  problems that it reports. If the leader waits for nothing and still makes no progress, this process stops waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from tokensvc.errors import Conflict, InvalidRotationPolicy, RotationBlocked, TokensvcError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.reconciler import RegionResult, inspect, reconcile
from tokensvc.keys.rotation_policy import check_slots
from tokensvc.keys.steps import how_to_free_slot, quota_reached
from tokensvc.problems import BLOCKS_ROTATION, problem_text

POLL_SECONDS = 1.0
"""Interval at which a request is checked while another process is the rotation leader."""

POLLS_PER_INSPECTION = 4
"""Every such poll also inspects IVS, because the leader never completes a rotation in a full region."""

MAX_IDLE_POLLS = 60
"""After this many polls with nothing to wait for, the leader has made several attempts, and an operator must act."""


def reconcile_until(
    context: KeysContext, regions: Sequence[str], is_done: Callable[[str], bool], *, wait_for_drain: bool = False
) -> None:
    """Reconcile until every region is done, and wait for propagation delays and, if `wait_for_drain`, for drains.

    A region that is blocked does not delay the others. The error of the first one is raised at the end.
    """
    try:
        given_up = _reconcile_until(context, regions, is_done, wait_for_drain=wait_for_drain)
    finally:
        context.release_lease()
    for region in regions:
        if region in given_up and not is_done(region):
            raise given_up[region]


def _reconcile_until(
    context: KeysContext, regions: Sequence[str], is_done: Callable[[str], bool], *, wait_for_drain: bool
) -> dict[str, TokensvcError]:
    given_up: dict[str, TokensvcError] = {}
    leader = _RemoteLeader(context, wait_for_drain=wait_for_drain)
    while True:
        results = reconcile(context, regions)
        unconfirmed = {
            r.region for r in results if r.inventory is not None and r.inventory.region_state.recheck_at is not None
        }
        pending = [region for region in regions if region in unconfirmed or not is_done(region)]
        if not results and pending:
            given_up = leader.wait(pending)
            if given_up.keys() >= set(pending):
                break
            continue
        wait_times = []
        for result in results:
            if result.region in pending:
                error = _blocking_error(context, result, wait_for_drain=wait_for_drain)
                if error is not None:
                    given_up[result.region] = error
                elif result.wait is not None and result.wait.until is not None:
                    given_up.pop(result.region, None)
                    wait_times.append(result.wait.until)
        if wait_times:
            sleep_until(context, min(wait_times), "the rotation continues")
        elif all(region in given_up for region in pending):
            break
        else:  # the lease was lost while steps were still due
            leader.wait(pending)
    return given_up


class _RemoteLeader:
    """Another process that is the rotation leader, and what is known of its progress."""

    def __init__(self, context: KeysContext, *, wait_for_drain: bool) -> None:
        self._context = context
        self._wait_for_drain = wait_for_drain
        self._polls = self._idle_polls = 0
        self._given_up: dict[str, TokensvcError] = {}
        self._waits: list[str] = []
        self._last_report = ""

    def wait(self, pending: Sequence[str]) -> dict[str, TokensvcError]:
        """Wait for one poll interval, unless all pending regions are given up; returns those, with their errors."""
        self._polls, self._idle_polls = self._polls + 1, self._idle_polls + 1
        problems = [
            problem_text(problem)
            for problem in self._context.leader_problems()
            if problem.region in pending and problem.code in BLOCKS_ROTATION
        ]
        if self._polls % POLLS_PER_INSPECTION == 0:
            self._inspect(pending, problems)
        waiting = "the rotation leader handles the rotation; waiting for it to finish"
        self._report("; ".join([waiting, *self._waits, *problems]))
        if not self._given_up.keys() >= set(pending):
            self._context.sleep(POLL_SECONDS)
        return self._given_up

    def _inspect(self, pending: Sequence[str], problems: Sequence[str]) -> None:
        """Find out what blocks the leader. That IVS does not respond to this process says nothing about the leader."""
        results = [result for result in inspect(self._context, pending) if result.error is None]
        errors = {r.region: _blocking_error(self._context, r, wait_for_drain=self._wait_for_drain) for r in results}
        self._given_up = {region: error for region, error in errors.items() if error is not None}
        waits = {r.region: r.wait for r in results if r.region not in self._given_up and r.wait is not None}
        self._waits = [f"{region}: {wait.reason}, at {wait.until:%Y-%m-%dT%H:%M:%SZ}" for region, wait in waits.items()]
        if waits:
            self._idle_polls = 0
        elif self._idle_polls >= MAX_IDLE_POLLS:
            reason = "; ".join(problems) or "it reports no reason"
            blocked = RotationBlocked(
                f"the rotation leader is blocked: {reason}. The request stays pending and will be retried",
                subject={"regions": ",".join(pending)},
            )
            self._given_up = {region: self._given_up.get(region, blocked) for region in pending}

    def _report(self, text: str) -> None:
        if text != self._last_report:
            self._last_report = text
            self._context.report(text)


def _blocking_error(context: KeysContext, result: RegionResult, *, wait_for_drain: bool) -> TokensvcError | None:
    """What blocks a region. None if it only waits for a propagation delay or, with `wait_for_drain`, for a drain."""
    if result.error is not None and result.wait is None:
        return result.error
    inventory, wait = result.inventory, result.wait
    if inventory is None or wait is None:
        return None
    if wait.until is not None:
        if not wait.for_drain or wait_for_drain:
            return None
        reason, remedy = how_to_free_slot(context, inventory)
        return quota_reached(context, inventory, f"{reason}; rotation will then continue automatically", remedy)
    if any(p.fingerprint_differs for p in inventory.region_state.placements):
        return Conflict(wait.reason)
    try:
        check_slots(result.region, inventory.region_state.foreign)
    except InvalidRotationPolicy as error:
        return quota_reached(context, inventory, error.message)
    return quota_reached(context, inventory)


def sleep_until(context: KeysContext, until: datetime, event: str) -> None:
    """Sleep until that time, and report the event that is waited for."""
    seconds = (until - context.now()).total_seconds()
    if seconds > 0:
        context.report(f"waiting {seconds:.0f} seconds until {event}")
        context.sleep(seconds)
