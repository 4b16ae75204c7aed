"""Goes through the regions and takes every step that is due.

Rules of the file
- A region's failure is that region's: the others are gone through all the same.
- A compromised pair that could not be deleted is tagged as such in IVS, once every region was gone through: a store
  that is restored from before the compromise then learns of it again. One attempt a run; it delays and fails nothing.
- What an earlier run left half done is taken up first: records that never came to be, steps that were never noted as
  ended, private halves that can sign nothing any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import ConcurrentModification, ControlPlaneError, TokensvcError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import (
    COMPROMISED_TAG,
    GRACE_SECONDS,
    RegionInventory,
    is_compromised,
    sync_inventory,
    take_inventory,
)
from tokensvc.keys.journal import JournalEntry
from tokensvc.keys.lifecycle import KeyRecord, StepKind, Wait, active_placement, blocked_on, next_step
from tokensvc.keys.steps import delete_stray, execute_step
from tokensvc.problems import Problem, ProblemCode
from tokensvc.timestamps import rfc3339

_MAX_STEPS = 12
"""More than a region ever needs in one go; a bound, should two decisions ever chase each other."""


class RegionResult(NamedTuple):
    """How a region was left."""

    region: str
    inventory: RegionInventory | None
    """The last look at it; None when there was none."""
    wait: Wait | None
    """What a change that is due waits for."""
    error: TokensvcError | None
    """Why it went no further."""

    @property
    def alarms(self) -> tuple[Problem, ...]:
        """Why tokens are refused by IVS there, or cannot be signed."""
        if self.inventory is None or not self.inventory.region_state.configured:
            return ()
        standing = self.inventory.region_state
        active = active_placement(standing.placements)
        if active is None:
            has_signed = any(pair.activated_at is not None for pair in standing.placements)
            return (Problem(ProblemCode.NO_ACTIVE_KEY, self.region),) if has_signed else ()
        subject = {"key_id": active.key_id}
        if active.key_id in standing.absent_in_ivs:
            code = ProblemCode.ACTIVE_KEY_NOT_IN_IVS if standing.account_verified else ProblemCode.ACTIVE_KEY_UNVERIFIED
            return (Problem(code, self.region, subject),)
        if active.key_id in standing.private_key_lost:
            return (Problem(ProblemCode.ACTIVE_KEY_LOST, self.region, subject),)
        return ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What an operator should know."""
        problems = [*self.alarms]
        if self.error is not None:
            parameters = {"reason": self.error.message, "error": self.error.code}
            problems.append(Problem(ProblemCode.ROTATION_FAILED, self.region, parameters, self.error.remedy))
        if self.wait is not None and self.wait.until is None:
            problems.append(Problem(ProblemCode.ROTATION_BLOCKED, self.region, {"reason": self.wait.reason}))
        return (*problems, *(self.inventory.problems if self.inventory is not None else ()))


def reconcile(context: KeysContext, regions: Sequence[str]) -> list[RegionResult]:
    """Take every step that is due, in these regions and wherever else we hold a pair or began to import one.

    Returns nothing when another process performs. Raises StoreError.
    """
    if not context.acquire_lease():
        return []
    policy, results = context.policy(), list[RegionResult]()
    for region in _all_regions(context, regions):
        account_verified = any(
            result.inventory is not None and result.inventory.region_state.account_verified for result in results
        )
        results.append(
            _reconcile_region(context, region, policy, configured=region in regions, account_verified=account_verified)
        )
    _tag_compromised(context, results)
    _tidy_up(context, [o.region for o in results if o.inventory is not None])
    return results


def inspect(context: KeysContext, regions: Sequence[str]) -> list[RegionResult]:
    """How these regions stand while another process performs: nothing is changed. Raises StoreError."""
    policy, results = context.policy(), []
    for region in regions:
        try:
            inventory = take_inventory(context, region)
            wait = blocked_on(inventory.region_state, context.now(), policy)
            results.append(RegionResult(region=region, inventory=inventory, wait=wait, error=None))
        except ControlPlaneError as error:
            results.append(RegionResult(region=region, inventory=None, wait=None, error=error))
    return results


def _reconcile_region(
    context: KeysContext, region: str, policy: RotationPolicy, *, configured: bool, account_verified: bool
) -> RegionResult:
    inventory: RegionInventory | None = None
    error: TokensvcError | None = None
    try:
        inventory = sync_inventory(context, region, configured=configured, account_verified=account_verified)
        deferred: frozenset[str] = frozenset()
        for _ in range(_MAX_STEPS):
            step = next_step(inventory.region_state._replace(deferred_deletions=deferred), context.now(), policy)
            if step is None or not context.acquire_lease():
                break
            try:
                execute_step(context, inventory, step)
            except ControlPlaneError as ivs_error:
                if step.kind is not StepKind.DELETE:
                    raise
                # A failed deletion must not keep another key from signing.
                error = _reported(context, region, ivs_error)
                deferred |= {str(step.key_id)}
            pairs = None if step.kind in {StepKind.IMPORT, StepKind.DELETE} else inventory.pairs
            inventory = sync_inventory(context, region, pairs, configured=configured, account_verified=account_verified)
        for key_id, arn in inventory.stray_pairs:
            try:
                delete_stray(context, region, key_id, arn)
            except ControlPlaneError as ivs_error:
                error = _reported(context, region, ivs_error)
        state = inventory.region_state._replace(deferred_deletions=deferred)
        return RegionResult(
            region=region, inventory=inventory, wait=blocked_on(state, context.now(), policy), error=error
        )
    except TokensvcError as aborted_by:
        return RegionResult(region=region, inventory=inventory, wait=None, error=_reported(context, region, aborted_by))


def _tag_compromised(context: KeysContext, results: Sequence[RegionResult]) -> None:
    """Tag compromised pairs that IVS still holds."""
    shown = {
        o.region: {str(pair["arn"]): pair for pair in o.inventory.pairs} for o in results if o.inventory is not None
    }
    for record in context.keys.list():
        for placement in record.placements:
            region = placement.account_region.region
            if record.compromised_at is None or not placement.is_imported or region not in {o.region for o in results}:
                continue
            pair = shown.get(region, {placement.arn: {}}).get(placement.arn)
            if pair is None or is_compromised(pair):
                continue
            tags = {COMPROMISED_TAG: rfc3339(int(record.compromised_at.timestamp()))}
            try:
                context.control_plane.call(region, "TagResource", {"resourceArn": placement.arn, "tags": tags})
                context.report(f"{placement.arn} is tagged as compromised until it can be deleted")
            except ControlPlaneError as error:
                context.report(f"{placement.arn} could not be tagged as compromised: {error.message}")


def _reported(context: KeysContext, region: str, error: TokensvcError) -> TokensvcError:
    if context.report_failure is not None:
        context.report_failure(region, error)
    else:
        context.report(f"{region} is left as it is for now: {error.message}")
    return error


def _all_regions(context: KeysContext, regions: Sequence[str]) -> list[str]:
    records = context.keys.list()
    held = {placement.account_region.region for r in records for placement in r.all_placements if placement.is_imported}
    begun = {entry.region for entry in context.journal.open_entries() if entry.kind is StepKind.IMPORT}
    return [*regions, *sorted((held | begun) - set(regions))]


def _tidy_up(context: KeysContext, observed_at: Sequence[str]) -> None:
    """See to what earlier runs left behind, now that the regions were gone through."""
    records, kept = context.keys.list(), context.vault.key_ids()
    begun = _close_journal(context, records, kept, observed_at)
    for record in records:
        if record.damage:  # IVS may hold it, and the row may be repaired
            continue
        if record.id in kept and _is_over(record):
            context.vault.remove(record.id)
        elif record.id not in kept | begun and not record.placements and _is_settled(record.created_at, context):
            with contextlib.suppress(ConcurrentModification):  # it has come to be in the meantime
                context.keys.discard(record.id)


def _close_journal(
    context: KeysContext, records: Sequence[KeyRecord], kept: frozenset[str], observed_at: Sequence[str]
) -> frozenset[str]:
    """Settle steps that were begun long enough ago, imports once IVS was looked at; the keys of those still open."""
    known, still_open = {record.id: record for record in records}, set()
    for entry in context.journal.open_entries():
        happened = _came_about(entry, known.get(entry.key_id), kept)
        was_looked_at = entry.kind is not StepKind.IMPORT or entry.region in observed_at
        is_damaged = entry.key_id in known and bool(known[entry.key_id].damage)
        if was_looked_at and not is_damaged and (happened or _is_settled(entry.started_at, context)):
            context.journal.finish(entry.id, "done" if happened else "never_happened", context.now())
        else:
            still_open.add(entry.key_id)
    return frozenset(still_open)


def _came_about(entry: JournalEntry, record: KeyRecord | None, kept: frozenset[str]) -> bool:
    """Whether a step had its effect, as far as the store and the vault know by now."""
    placement = (
        next((p for p in record.placements if p.account_region.region == entry.region), None)
        if record is not None
        else None
    )
    if entry.kind is StepKind.GENERATE:
        return record is not None and (record.id in kept or bool(record.placements))
    if placement is None:
        return False
    if entry.kind in {StepKind.ACTIVATE, StepKind.REACTIVATE}:
        return placement.activated_at is not None and placement.activated_at >= entry.started_at
    return entry.kind is StepKind.IMPORT or not placement.is_imported


def _is_settled(at: datetime, context: KeysContext) -> bool:
    """Whether what was begun then has had its effect by now, or never will."""
    return context.now() - at > timedelta(seconds=GRACE_SECONDS)


def _is_over(record: KeyRecord) -> bool:
    """Whether IVS held this key and holds it nowhere any more, or must never hold it."""
    gone = all(not placement.is_imported for placement in record.placements)
    return gone and (bool(record.placements) or record.compromised_at is not None)
