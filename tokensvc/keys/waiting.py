"""Goes on until what somebody asked for is done, whoever performs.

Rules of the file
- A region that cannot go on is given up and delays no other. What was asked for stands: it goes on by itself later.
- While another process performs it is waited for, and what it waits for, or says that keeps it back, is told. Where it
  waits for nothing and still does not get there, it is waited for no more.
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
"""How often a wish is looked at while another process performs it."""

POLLS_PER_INSPECTION = 4
"""Each so many of these looks are at IVS too: at a region that is full nobody would ever perform it."""

MAX_IDLE_POLLS = 60
"""After so many without anything to wait for, whoever performs has tried several times, and somebody must help."""


def reconcile_until(
    context: KeysContext, regions: Sequence[str], is_done: Callable[[str], bool], *, wait_for_drain: bool = False
) -> None:
    """Go on until it is done in every region, waiting for leads, and for drains when `patient`.

    A region that cannot go on is given up and delays no other; what keeps the first one back is raised at the end.
    """
    try:
        given_up = _settle(context, regions, is_done, wait_for_drain=wait_for_drain)
    finally:
        context.release_lease()
    for region in regions:
        if region in given_up and not is_done(region):
            raise given_up[region]


def _settle(
    context: KeysContext, regions: Sequence[str], is_done: Callable[[str], bool], *, wait_for_drain: bool
) -> dict[str, TokensvcError]:
    given_up: dict[str, TokensvcError] = {}
    others = _Others(context, wait_for_drain=wait_for_drain)
    while True:
        results = reconcile(context, regions)
        doubted = {
            o.region for o in results if o.inventory is not None and o.inventory.region_state.recheck_at is not None
        }
        pending = [region for region in regions if region in doubted or not is_done(region)]
        if not results and pending:
            given_up = others.wait(pending)
            if given_up.keys() >= set(pending):
                break
            continue
        waits = []
        for result in results:
            if result.region in pending:
                rotation_blocked = _kept_back(context, result, wait_for_drain=wait_for_drain)
                if rotation_blocked is not None:
                    given_up[result.region] = rotation_blocked
                elif result.wait is not None and result.wait.until is not None:
                    given_up.pop(result.region, None)
                    waits.append(result.wait.until)
        if waits:
            sleep_until(context, min(waits), "it goes on")
        elif all(region in given_up for region in pending):
            break
        else:  # the lease was lost on the way, with steps still due
            others.wait(pending)
    return given_up


class _Others:
    """Whoever else performs, and what is known of how far that is."""

    def __init__(self, context: KeysContext, *, wait_for_drain: bool) -> None:
        self._context = context
        self._wait_for_drain = wait_for_drain
        self._polls = self._idle = 0
        self._given_up: dict[str, TokensvcError] = {}
        self._waits: list[str] = []
        self._told = ""

    def wait(self, pending: Sequence[str]) -> dict[str, TokensvcError]:
        """Wait for a moment, unless nothing is worth waiting for; the regions that are given up, and why."""
        self._polls, self._idle = self._polls + 1, self._idle + 1
        said = [
            problem_text(problem)
            for problem in self._context.leader_problems()
            if problem.region in pending and problem.code in BLOCKS_ROTATION
        ]
        if self._polls % POLLS_PER_INSPECTION == 0:
            self._look(pending, said)
        self._tell("; ".join(["another process performs; waiting for it", *self._waits, *said]))
        if not self._given_up.keys() >= set(pending):
            self._context.sleep(POLL_SECONDS)
        return self._given_up

    def _look(self, pending: Sequence[str], said: Sequence[str]) -> None:
        """Look for what holds up whoever performs; that IVS does not answer us says nothing about that."""
        results = [result for result in inspect(self._context, pending) if result.error is None]
        rotation_blocked = {
            o.region: _kept_back(self._context, o, wait_for_drain=self._wait_for_drain) for o in results
        }
        self._given_up = {region: error for region, error in rotation_blocked.items() if error is not None}
        ahead = {o.region: o.wait for o in results if o.region not in self._given_up and o.wait is not None}
        self._waits = [f"{region}: {wait.reason}, at {wait.until:%Y-%m-%dT%H:%M:%SZ}" for region, wait in ahead.items()]
        if ahead:
            self._idle = 0
        elif self._idle >= MAX_IDLE_POLLS:
            why = "; ".join(said) or "it does not say why"
            error = RotationBlocked(
                f"another process performs and does not get there: {why}. What was asked for stands, and is tried on",
                subject={"regions": ",".join(pending)},
            )
            self._given_up = {region: self._given_up.get(region, error) for region in pending}

    def _tell(self, words: str) -> None:
        if words != self._told:
            self._told = words
            self._context.report(words)


def _kept_back(context: KeysContext, result: RegionResult, *, wait_for_drain: bool) -> TokensvcError | None:
    """Why a region cannot go on for now; None when it only waits for a lead, or for a drain when `patient`."""
    if result.error is not None and result.wait is None:
        return result.error
    inventory, wait = result.inventory, result.wait
    if inventory is None or wait is None:
        return None
    if wait.until is not None:
        if not wait.for_drain or wait_for_drain:
            return None
        reason, remedy = how_to_free_slot(context, inventory)
        return quota_reached(context, inventory, f"{reason}, and the rotation continues", remedy)
    if any(p.fingerprint_differs for p in inventory.region_state.placements):
        return Conflict(wait.reason)
    try:
        check_slots(result.region, inventory.region_state.foreign)
    except InvalidRotationPolicy as error:
        return quota_reached(context, inventory, error.message)
    return quota_reached(context, inventory)


def sleep_until(context: KeysContext, until: datetime, what: str) -> None:
    """Wait for an instant, and say so."""
    seconds = (until - context.now()).total_seconds()
    if seconds > 0:
        context.report(f"waiting {seconds:.0f} seconds before {what}")
        context.sleep(seconds)
