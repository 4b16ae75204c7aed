"""Reconciler: takes every step that is due, region by region.

Invariants
- An error in one region does not affect the others.
- A compromised pair that could not be deleted is tagged as compromised in IVS, after all regions were processed: if the
  store is restored from a backup older than the compromise, it learns of it again. There is one attempt per run; a
  failed attempt neither delays nor fails anything else.
- What an earlier run left unfinished is cleaned up: records of keys that were never completed, open journal entries,
  and private keys that can no longer sign anything.
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
from tokensvc.keys.lifecycle import KeyRecord, StepKind, Wait, active_placement, blocked_on, next_step
from tokensvc.keys.steps import delete_stray, execute_step
from tokensvc.keys.store import JournalEntry
from tokensvc.problems import Problem, ProblemCode
from tokensvc.timestamps import rfc3339

_MAX_STEPS = 12
"""More steps than a region ever needs in one run; a bound in case two decisions ever undo each other."""


class RegionResult(NamedTuple):
    """The outcome of a run for one region."""

    region: str
    inventory: RegionInventory | None
    """The last inventory; None if none could be taken."""
    wait: Wait | None
    """What a due rotation waits for."""
    error: TokensvcError | None
    """Why the region could not be completed."""

    @property
    def alarms(self) -> tuple[Problem, ...]:
        """Why IVS rejects the region's tokens, or why none can be signed."""
        if self.inventory is None or not self.inventory.region_state.configured:
            return ()
        region_state = self.inventory.region_state
        active = active_placement(region_state.placements)
        if active is None:
            has_signed = any(p.activated_at is not None for p in region_state.placements)
            return (Problem(ProblemCode.NO_ACTIVE_KEY, self.region),) if has_signed else ()
        subject = {"key_id": active.key_id}
        if active.key_id in region_state.absent_in_ivs:
            verified = region_state.account_verified
            code = ProblemCode.ACTIVE_KEY_NOT_IN_IVS if verified else ProblemCode.ACTIVE_KEY_UNVERIFIED
            return (Problem(code, self.region, subject),)
        if active.key_id in region_state.private_key_lost:
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
    """Take every step that is due in these regions, and wherever else we hold a pair or started to import one.

    Returns nothing if another process is the rotation leader. Raises StoreError.
    """
    if not context.acquire_lease():
        return []
    policy, results = context.policy(), list[RegionResult]()
    for region in _all_regions(context, regions):
        verified = any(r.inventory is not None and r.inventory.region_state.account_verified for r in results)
        configured = region in regions
        results.append(_reconcile_region(context, region, policy, configured=configured, account_verified=verified))
    _tag_compromised(context, results)
    _clean_up(context, [result.region for result in results if result.inventory is not None])
    return results


def inspect(context: KeysContext, regions: Sequence[str]) -> list[RegionResult]:
    """The state of these regions while another process is the rotation leader. Changes nothing. Raises StoreError."""
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
        region_state = inventory.region_state._replace(deferred_deletions=deferred)
        wait = blocked_on(region_state, context.now(), policy)
        return RegionResult(region=region, inventory=inventory, wait=wait, error=error)
    except TokensvcError as failure:
        error = _reported(context, region, failure)
        return RegionResult(region=region, inventory=inventory, wait=None, error=error)


def _tag_compromised(context: KeysContext, results: Sequence[RegionResult]) -> None:
    """Tag compromised pairs that IVS still holds."""
    pairs_by_region = {
        r.region: {str(pair["arn"]): pair for pair in r.inventory.pairs} for r in results if r.inventory is not None
    }
    regions = {result.region for result in results}
    for record in context.keys.list():
        for placement in record.placements:
            region = placement.account_region.region
            if record.compromised_at is None or not placement.is_imported or region not in regions:
                continue
            # Without an inventory, the pair is assumed to exist and to have no tag yet.
            pair = pairs_by_region.get(region, {placement.arn: {}}).get(placement.arn)
            if pair is None or is_compromised(pair):
                continue
            tags = {COMPROMISED_TAG: rfc3339(int(record.compromised_at.timestamp()))}
            try:
                context.control_plane.call(region, "TagResource", {"resourceArn": placement.arn, "tags": tags})
                context.report(f"tagged {placement.arn} as compromised until it can be deleted")
            except ControlPlaneError as error:
                context.report(f"could not tag {placement.arn} as compromised: {error.message}")


def _reported(context: KeysContext, region: str, error: TokensvcError) -> TokensvcError:
    if context.report_failure is not None:
        context.report_failure(region, error)
    else:
        context.report(f"{region}: skipped, will retry: {error.message}")
    return error


def _all_regions(context: KeysContext, regions: Sequence[str]) -> list[str]:
    imported_in = {p.account_region.region for r in context.keys.list() for p in r.all_placements if p.is_imported}
    importing_in = {entry.region for entry in context.journal.open_entries() if entry.kind is StepKind.IMPORT}
    return [*regions, *sorted((imported_in | importing_in) - set(regions))]


def _clean_up(context: KeysContext, inspected_regions: Sequence[str]) -> None:
    """Remove what earlier runs left behind, after all regions were processed."""
    records, stored_ids = context.keys.list(), context.vault.key_ids()
    pending_ids = _close_journal_entries(context, records, stored_ids, inspected_regions)
    for record in records:
        if record.damage:  # IVS may hold the key, and the row may be repaired
            continue
        if record.id in stored_ids and _is_finished(record):
            context.vault.remove(record.id)
        elif (
            record.id not in stored_ids | pending_ids
            and not record.placements
            and _is_past_grace(record.created_at, context)
        ):
            with contextlib.suppress(ConcurrentModification):  # the key was imported in the meantime
                context.keys.discard(record.id, event=context.requester.event("keys.discard", record.id))


def _close_journal_entries(
    context: KeysContext, records: Sequence[KeyRecord], stored_ids: frozenset[str], inspected_regions: Sequence[str]
) -> frozenset[str]:
    """Close the entries of steps that started long enough ago, and of imports once their region was inspected.

    Returns the keys of the entries that stay open.
    """
    records_by_id, pending_ids = {record.id: record for record in records}, set()
    for entry in context.journal.open_entries():
        took_effect = _took_effect(entry, records_by_id.get(entry.key_id), stored_ids)
        is_inspected = entry.kind is not StepKind.IMPORT or entry.region in inspected_regions
        is_damaged = entry.key_id in records_by_id and bool(records_by_id[entry.key_id].damage)
        if is_inspected and not is_damaged and (took_effect or _is_past_grace(entry.started_at, context)):
            context.journal.finish(entry.id, "done" if took_effect else "abandoned", context.now())
        else:
            pending_ids.add(entry.key_id)
    return frozenset(pending_ids)


def _took_effect(entry: JournalEntry, record: KeyRecord | None, stored_ids: frozenset[str]) -> bool:
    """Whether a step had its effect, according to the store and the vault."""
    if entry.kind is StepKind.GENERATE:
        return record is not None and (record.id in stored_ids or bool(record.placements))
    placements = record.placements if record is not None else ()
    placement = next((p for p in placements if p.account_region.region == entry.region), None)
    if placement is None:
        return False
    if entry.kind in {StepKind.ACTIVATE, StepKind.REACTIVATE}:
        return placement.activated_at is not None and placement.activated_at >= entry.started_at
    return entry.kind is StepKind.IMPORT or not placement.is_imported


def _is_past_grace(at: datetime, context: KeysContext) -> bool:
    """Whether what started at that time has had its effect by now, or never will."""
    return context.now() - at > timedelta(seconds=GRACE_SECONDS)


def _is_finished(record: KeyRecord) -> bool:
    """Whether IVS held this key and no longer holds it anywhere, or must never hold it."""
    is_removed = all(not p.is_imported for p in record.placements)
    return is_removed and (bool(record.placements) or record.compromised_at is not None)
