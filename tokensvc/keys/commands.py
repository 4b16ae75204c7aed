"""Use cases on keys that somebody requests: rotate now, add a key, activate, delete or compromise one.

Invariants
- A rotation request is stored before anything is done for it, so that the next rotation leader continues with it.
- A request that would cause damage is rejected before anything changes, and the error says what to do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tokensvc.errors import Action, Conflict, FieldError, InvalidRequest, KeyPairQuotaReached, Remedy, VaultError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.importing import for_each_region, import_new
from tokensvc.keys.inventory import RegionInventory, sync_inventory
from tokensvc.keys.lifecycle import (
    KeyPlacement,
    KeyRecord,
    KeyState,
    Step,
    StepKind,
    active_placement,
    drains_at,
    is_active_key_absent,
    placements_in,
    require_key,
    successor,
    usable_from,
    was_activated_again,
)
from tokensvc.keys.reconciler import RegionResult, reconcile
from tokensvc.keys.rotation_policy import check_policy
from tokensvc.keys.steps import execute_step, generate_key, placement_in
from tokensvc.keys.store import RotationRequest
from tokensvc.keys.waiting import reconcile_until, sleep_until

_OPERATOR = "requested by an operator"


class CompromiseImpact(NamedTuple):
    """What a compromise would cause in one region."""

    region: str
    was_active: bool
    successor: str | None
    """The key that takes over immediately. None: nothing is signed until the propagation delay of a new key has
    passed."""
    outage_seconds: float
    """How long no token can be signed there."""


def select_regions(context: KeysContext, requested: Sequence[str] | None, configured: Sequence[str]) -> list[str]:
    """The requested regions, or all: the configured ones, otherwise those of the existing keys. Raises InvalidRequest
    naming each unknown one."""
    placements = (placement for record in context.keys.list() for placement in record.placements)
    known = configured or sorted({placement.account_region.region for placement in placements})
    errors = [
        FieldError(f"regions[{position}]", f"must be one of {', '.join(known)}")
        for position, region in enumerate(requested or ())
        if region not in known
    ]
    if errors:
        raise InvalidRequest(errors)
    return list(dict.fromkeys(requested or known))


def request_rotation(context: KeysContext, regions: Sequence[str], by: str) -> RotationRequest:
    """Request that the next key becomes active in these regions. Raises InvalidRotationPolicy if that is impossible."""
    check_policy(context.policy(), context.deployment.read().max_ttl_seconds)
    records = context.keys.list()
    active = {region: active_placement(placements_in(records, region)) for region in regions}
    previous_key_ids = {
        region: placement.key_id if placement is not None else None for region, placement in active.items()
    }
    # Not before the activation of a key that it replaces, even if the store's clock was set back since.
    activated_at = (placement.activated_at for placement in active.values() if placement is not None)
    at = max([context.now(), *filter(None, activated_at)])
    rotation_id, details = context.new_id(), {"regions": " ".join(regions)}
    event = context.requester.event("keys.rotate", rotation_id, details=details)
    return context.rotation_requests.request(rotation_id, previous_key_ids, at, by, event=event)


def replacement_keys(records: Sequence[KeyRecord], request: RotationRequest) -> dict[str, str | None]:
    """By region, the key that has taken over since the request, or the previous one if an operator has activated it
    again; None where the request is still to be carried out."""
    taken_over: dict[str, str | None] = {}
    for region, previous in request.previous_key_ids.items():
        active = active_placement(placements_in(records, region))
        if active is None or (active.key_id == previous and not was_activated_again(active, request.requested_at)):
            taken_over[region] = None
        else:
            taken_over[region] = active.key_id
    return taken_over


def rotate(context: KeysContext, regions: Sequence[str], by: str, *, wait_for_drain: bool = False) -> RotationRequest:
    """Request a rotation and wait until it is done. Raises the error that blocks it.

    With `wait_for_drain` it also waits for a draining key to free a slot.
    """
    request = request_rotation(context, regions, by)
    complete_rotations(context, regions, wait_for_drain=wait_for_drain)
    return request


def reconcile_and_wait(context: KeysContext, regions: Sequence[str], *, wait_for_drain: bool = False) -> None:
    """Complete what was started or requested before: each region has an active key, and not one that is to be replaced.

    A reactivated key that nothing can replace yet is accepted: it signs, and is replaced as soon as a slot is free.
    """
    try:
        complete_rotations(context, regions, wait_for_drain=wait_for_drain)
    except KeyPairQuotaReached as error:
        records = context.keys.list()
        if not all(_is_reactivated(records, region) or _is_rotated(context, records, region) for region in regions):
            raise
        context.report(f"a reactivated key signs until another can take over: {error.message}")


def complete_rotations(context: KeysContext, regions: Sequence[str], *, wait_for_drain: bool = False) -> None:
    """Like `reconcile_and_wait`, but raises what keeps a reactivated key from being replaced."""

    def is_done(region: str) -> bool:
        return _is_rotated(context, context.keys.list(), region)

    reconcile_until(context, regions, is_done, wait_for_drain=wait_for_drain)


def generate(context: KeysContext, regions: Sequence[str]) -> KeyRecord:
    """Generate a key and import it in each region. It becomes active where no key was, and is a standby elsewhere.

    A key that was generated before and never imported, because no region had a free slot, is used first.
    """
    if not _all_active(context, regions):
        reconcile_until(context, regions, lambda region: _active_key_id(context.keys.list(), region) is not None)
        records = context.keys.list()
        return require_key(records, str(_active_key_id(records, regions[0])))
    stored_ids = context.vault.key_ids()
    unused = (
        r
        for r in context.keys.list()
        if r.id in stored_ids and not r.placements and r.compromised_at is None and not r.damage
    )
    record = next((r for r in unused if not context.damage(r)), None) or generate_key(context, _OPERATOR)
    for_each_region(context, regions, lambda region: import_new(context, record.id, region))
    return require_key(context.keys.list(), record.id)


def activate(context: KeysContext, key_id: str, regions: Sequence[str]) -> KeyRecord:
    """Make this prepared or retiring key active in each of these regions, once its propagation delay has passed."""
    policy = context.policy()
    for region in regions:
        placement = placement_in(require_key(context.keys.list(), key_id), region)
        ready_at = usable_from(placement, policy.propagation_seconds)
        sleep_until(context, ready_at, f"key {key_id} can become active in {region}")
        execute_step(context, sync_inventory(context, region), Step(StepKind.ACTIVATE, key_id, _OPERATOR))
    return require_key(context.keys.list(), key_id)


def delete(context: KeysContext, key_id: str, regions: Sequence[str]) -> KeyRecord:
    """Delete this key's pairs in each of these regions.

    Raises Conflict while its tokens may be valid, and until it is confirmed whether IVS holds the region's active key:
    if it does not, any other key may have signed.
    """
    record, subject = require_key(context.keys.list(), key_id), {"key_id": key_id}
    if not record.placements or any(p.account_region.region in regions for p in record.unreadable):
        record.require_readable()
    if not record.placements:
        if any(entry.key_id == key_id for entry in context.journal.open_entries()):
            raise Conflict(
                f"an import of key {key_id} was started and may have succeeded",
                subject=subject,
                remedy=Remedy(Action.RECONCILE_KEYS, subject),
            )
        context.keys.discard(key_id, event=context.requester.event("keys.discard", key_id))
        context.vault.remove(key_id)
        return record
    inventories = [
        sync_inventory(context, p.account_region.region)
        for p in record.placements
        if p.account_region.region in regions and p.is_imported
    ]
    for inventory in inventories:
        _require_deletable(context, inventory, key_id)
    for inventory in inventories:
        execute_step(context, inventory, Step(StepKind.DELETE, key_id, _OPERATOR))
    reconcile_once(context, ())  # only cleans up; whether another key is needed is for a rotation to decide
    return require_key(context.keys.list(), key_id)


def preview_compromise(context: KeysContext, key_id: str, *, include_standby: bool) -> list[CompromiseImpact]:
    """What `compromise` would cause, without doing it."""
    propagation_seconds, records = context.policy().propagation_seconds, context.keys.list()
    key = require_key(records, key_id)
    compromised = {
        r.id for r in records if r.id == key_id or (include_standby and not any(p.activated_at for p in r.placements))
    }
    unable, impacts = _unable_to_sign(context), []
    for placement in key.placements:
        if not placement.is_imported:
            continue
        others = [
            p
            for r in records
            if r.id not in compromised | unable
            for p in r.placements
            if p.account_region == placement.account_region
        ]
        best = successor(others, context.now(), propagation_seconds)
        is_active = placement.state is KeyState.ACTIVE
        has_outage = is_active and best is None
        outage_seconds = _seconds_until_usable(others, context.now(), propagation_seconds) if has_outage else 0.0
        successor_id = best.key_id if is_active and best is not None else None
        impacts.append(CompromiseImpact(placement.account_region.region, is_active, successor_id, outage_seconds))
    return impacts


def compromise(
    context: KeysContext, key_id: str, regions: Sequence[str], *, include_standby: bool
) -> list[RegionResult]:
    """Mark this key as compromised; then delete its pairs everywhere and import the keys that are needed.

    The key is marked in one transaction, which is complete when this returns or raises. If the rest cannot be finished
    now, the rotation leader finishes it.
    """
    mark_compromised(context, key_id, include_standby=include_standby)
    return reconcile_once(context, regions)


def mark_compromised(context: KeysContext, key_id: str, *, include_standby: bool) -> KeyRecord:
    """Mark this key as compromised, so that it never signs again. The rotation leader does the rest."""
    propagation_seconds = context.deployment.read().key_propagation_seconds
    record = context.keys.compromise(
        key_id,
        context.now(),
        propagation_seconds,
        include_standby=include_standby,
        unable=_unable_to_sign(context),
        event=context.requester.event(
            "keys.compromise", key_id, details={"include_standby": "true"} if include_standby else {}
        ),
    )
    context.report(f"key {key_id} is marked as compromised; each worker stops signing with it at its next refresh")
    return record


def reconcile_once(context: KeysContext, regions: Sequence[str]) -> list[RegionResult]:
    """Take every step that is due now, then release the lease."""
    try:
        return reconcile(context, regions)
    finally:
        context.release_lease()


def _require_deletable(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    policy, region = context.policy(), inventory.region
    subject = {"key_id": key_id, "region": region}
    placement = next((p for p in inventory.region_state.placements if p.key_id == key_id), None)
    if placement is None or placement.state is KeyState.COMPROMISED:
        return
    if placement.state is KeyState.ACTIVE:
        raise Conflict(f"key {key_id} is active in {region}", subject=subject, remedy=Remedy(Action.ROTATE_KEYS))
    ends_at = drains_at(placement, policy)
    if placement.longest_ttl_seconds and ends_at > context.now():
        raise Conflict(
            f"tokens of key {key_id} may be valid in {region} until {ends_at:%Y-%m-%dT%H:%M:%SZ}; its pair is deleted "
            "automatically then",
            subject=subject,
            remedy=Remedy(Action.COMPROMISE_KEY, {"key_id": key_id}),
        )
    if is_active_key_absent(inventory.region_state):
        raise Conflict(
            f"IVS does not hold the active key of {region}, so the store may have been restored from a backup, and "
            f"tokens of key {key_id} may be valid",
            subject=subject,
            remedy=Remedy(Action.RECONCILE_KEYS, {"key_id": key_id}),
        )


def _unable_to_sign(context: KeysContext) -> frozenset[str]:
    """Keys without a usable private key. An error of the vault must not prevent a compromise; then the set is empty."""
    try:
        stored_ids = context.vault.key_ids()
    except VaultError:
        return frozenset()
    ids = [record.id for record in context.keys.list()]
    return frozenset(
        key_id for key_id in ids if key_id not in stored_ids or context.private_keys.is_known_damaged(key_id)
    )


def _active_key_id(records: Sequence[KeyRecord], region: str) -> str | None:
    active = active_placement(placements_in(records, region))
    return active.key_id if active is not None else None


def _is_rotated(context: KeysContext, records: Sequence[KeyRecord], region: str) -> bool:
    """Whether the region has an active key, and not the one that the newest request replaces."""
    newest = [request for request in context.rotation_requests.newest(1) if region in request.previous_key_ids]
    return _active_key_id(records, region) is not None and all(
        replacement_keys(records, request)[region] for request in newest
    )


def _is_reactivated(records: Sequence[KeyRecord], region: str) -> bool:
    active = active_placement(placements_in(records, region))
    return active is not None and active.retiring_at is not None


def _all_active(context: KeysContext, regions: Sequence[str]) -> bool:
    records = context.keys.list()
    return all(_active_key_id(records, region) for region in regions)


def _seconds_until_usable(placements: Sequence[KeyPlacement], now: datetime, propagation_seconds: float) -> float:
    """How long until one of these prepared keys, or a key that is imported now, may sign."""
    prepared = [p for p in placements if p.state is KeyState.PREPARED and p.is_imported]
    times = [usable_from(p, propagation_seconds) for p in prepared]
    return max(0.0, (min(times) - now).total_seconds()) if times else propagation_seconds
