"""What people ask for, on top of what goes by itself: rotate now, another key, this key, none of that key any more.

Rules of the file
- A wish is stored before anything is done for it, so that whoever performs next goes on with it.
- What a wish would break is refused before anything is changed, and the refusal says what to do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tokensvc.errors import Action, Conflict, FieldError, InvalidRequest, KeyPairQuotaReached, Remedy, VaultError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.importing import for_each_region, import_new
from tokensvc.keys.inventory import sync_inventory
from tokensvc.keys.lifecycle import (
    KeyPlacement,
    KeyRecord,
    KeyState,
    Step,
    StepKind,
    active_placement,
    drains_at,
    is_active_key_absent,
    require_key,
    successor,
    usable_from,
)
from tokensvc.keys.reconciler import RegionResult, reconcile
from tokensvc.keys.rotation_policy import check_policy
from tokensvc.keys.rotation_requests import RotationRequest
from tokensvc.keys.steps import execute_step, generate_key, placement_in
from tokensvc.keys.waiting import reconcile_until, sleep_until


class CompromiseImpact(NamedTuple):
    """What a compromise would bring about in one region."""

    region: str
    was_active: bool
    successor: str | None
    """The key that takes over at once; None: nobody signs there until a new key has led."""
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
    """Wish for the next key to sign in these regions. Raises InvalidRotationPolicy when it could never come true."""
    check_policy(context.policy(), context.deployment.read().max_ttl_seconds)
    replaces = {region: _active(context.keys.list(), region) for region in regions}
    return context.rotations.request(context.new_id(), replaces, context.now(), by)


def replacement_keys(records: Sequence[KeyRecord], request: RotationRequest) -> dict[str, str | None]:
    """By region, the key that took over there; None where the wish has not come true yet."""
    signing = {region: _active(records, region) for region in request.previous_key_ids}
    return {
        region: key_id if key_id != request.previous_key_ids[region] else None for region, key_id in signing.items()
    }


def rotate(context: KeysContext, regions: Sequence[str], by: str, *, wait_for_drain: bool = False) -> RotationRequest:
    """Ask for a rotation and see it through; `patient` also waits for a drain. Raises what keeps it back."""
    request = request_rotation(context, regions, by)
    complete_rotations(context, regions, wait_for_drain=wait_for_drain)
    return request


def reconcile_and_wait(context: KeysContext, regions: Sequence[str], *, wait_for_drain: bool = False) -> None:
    """See through what was begun or asked for before: a key signs in each region, and not one to be replaced.

    A reactivated key that nothing can replace yet is enough: it signs, and is replaced by itself when there is room.
    """
    try:
        complete_rotations(context, regions, wait_for_drain=wait_for_drain)
    except KeyPairQuotaReached as full:
        records = context.keys.list()
        if not all(
            _is_reactivated(records, region) or _fulfills_newest(context, records, region) for region in regions
        ):
            raise
        context.report(f"a reactivated key signs until another can take over: {full.message}")


def complete_rotations(context: KeysContext, regions: Sequence[str], *, wait_for_drain: bool = False) -> None:
    """As `reconcile_and_wait`, and raises what keeps a reactivated key from being replaced."""

    def is_done(region: str) -> bool:
        return _fulfills_newest(context, context.keys.list(), region)

    reconcile_until(context, regions, is_done, wait_for_drain=wait_for_drain)


def generate(context: KeysContext, regions: Sequence[str]) -> KeyRecord:
    """Make a key and import it in each region. It signs where none did; elsewhere it stands ready.

    One that was made before and never came into use, since no region had room, is taken first.
    """
    if not _all_sign(context, regions):
        reconcile_until(context, regions, lambda region: _active(context.keys.list(), region) is not None)
        return require_key(context.keys.list(), str(_active(context.keys.list(), regions[0])))
    kept = context.vault.key_ids()
    unused = (
        r
        for r in context.keys.list()
        if r.id in kept and not r.placements and r.compromised_at is None and not r.damage
    )
    record = next((r for r in unused if not context.damage(r)), None) or generate_key(
        context, "somebody asked for another key"
    )
    for_each_region(context, regions, lambda region: import_new(context, record.id, region))
    return require_key(context.keys.list(), record.id)


def activate(context: KeysContext, key_id: str, regions: Sequence[str]) -> KeyRecord:
    """Sign with this prepared or retiring key in each of these regions, once IVS has held it for the lead."""
    policy = context.policy()
    for region in regions:
        placement = placement_in(require_key(context.keys.list(), key_id), region)
        sleep_until(context, usable_from(placement, policy.propagation_seconds), f"key {key_id} signs in {region}")
        execute_step(
            context, sync_inventory(context, region), Step(StepKind.ACTIVATE, key_id, "an operator asked for it")
        )
    return require_key(context.keys.list(), key_id)


def delete(context: KeysContext, key_id: str, regions: Sequence[str]) -> KeyRecord:
    """Delete this key's pairs in each of these regions. Raises Conflict while its tokens may still live, and until it
    is proven whether IVS holds the key that signs there: if it does not, any other may have signed."""
    policy, record, subject = context.policy(), require_key(context.keys.list(), key_id), {"key_id": key_id}
    if not record.placements or any(p.account_region.region in regions for p in record.unreadable):
        record.require_readable()
    if not record.placements:
        if any(entry.key_id == key_id for entry in context.journal.open_entries()):
            raise Conflict(
                f"an import of key {key_id} was begun and may have come about",
                subject=subject,
                remedy=Remedy(Action.RECONCILE_KEYS, subject),
            )
        context.keys.discard(key_id)
        context.vault.remove(key_id)
        return record
    surveys = [
        sync_inventory(context, p.account_region.region)
        for p in record.placements
        if p.account_region.region in regions and p.is_imported
    ]
    for placement in (p for inventory in surveys for p in inventory.region_state.placements if p.key_id == key_id):
        ends_at = drains_at(placement, policy)
        if placement.state is KeyState.ACTIVE:
            message = f"key {key_id} signs in {placement.account_region.region}"
            raise Conflict(
                message,
                subject=subject | {"region": placement.account_region.region},
                remedy=Remedy(Action.ROTATE_KEYS),
            )
        if placement.longest_ttl_seconds and placement.state is not KeyState.COMPROMISED and ends_at > context.now():
            raise Conflict(
                f"tokens of key {key_id} may live until {ends_at:%Y-%m-%dT%H:%M:%SZ} in {placement.account_region.region}; it goes "
                "by itself then",
                subject=subject | {"region": placement.account_region.region},
                remedy=Remedy(Action.COMPROMISE_KEY, subject),
            )
        in_doubt = any(
            is_active_key_absent(inventory.region_state)
            for inventory in surveys
            if inventory.region == placement.account_region.region
        )
        if in_doubt and placement.state is not KeyState.COMPROMISED:
            raise Conflict(
                f"IVS does not hold the key that signs in {placement.account_region.region}, so the store may have been restored, "
                f"and tokens of key {key_id} may live",
                subject=subject | {"region": placement.account_region.region},
                remedy=Remedy(Action.RECONCILE_KEYS, subject),
            )
    for inventory in surveys:
        execute_step(context, inventory, Step(StepKind.DELETE, key_id, "an operator asked for it"))
    reconcile_once(context, ())  # tidies up; what is to come in its place, and whether, is for whoever rotates
    return require_key(context.keys.list(), key_id)


def preview_compromise(context: KeysContext, key_id: str, *, include_standby: bool) -> list[CompromiseImpact]:
    """What `compromise` would bring about, without doing it."""
    policy, records = context.policy(), context.keys.list()
    key = require_key(records, key_id)
    bad = {
        r.id for r in records if r.id == key_id or (include_standby and not any(p.activated_at for p in r.placements))
    }
    unable, prospects = _without_private_half(context), []
    for placement in key.placements:
        if not placement.is_imported:
            continue
        others = [
            p
            for r in records
            if r.id not in bad | unable
            for p in r.placements
            if p.account_region == placement.account_region
        ]
        best = successor(others, context.now(), policy.propagation_seconds)
        active = placement.state is KeyState.ACTIVE
        without = (
            0.0 if best is not None or not active else _until_led(others, context.now(), policy.propagation_seconds)
        )
        prospects.append(
            CompromiseImpact(placement.account_region.region, active, best.key_id if active and best else None, without)
        )
    return prospects


def compromise(
    context: KeysContext, key_id: str, regions: Sequence[str], *, include_standby: bool
) -> list[RegionResult]:
    """Never sign with this key again; then delete its pairs everywhere and bring in what is needed.

    The first is one transaction and is done when this raises or returns; the rest goes on by itself if it cannot be
    finished now.
    """
    mark_compromised(context, key_id, include_standby=include_standby)
    return reconcile_once(context, regions)


def mark_compromised(context: KeysContext, key_id: str, *, include_standby: bool) -> KeyRecord:
    """Never sign with this key again: the one transaction of a compromise. Whoever performs does the rest."""
    propagation_seconds = context.deployment.read().key_propagation_seconds
    record = context.keys.compromise(
        key_id,
        context.now(),
        propagation_seconds,
        include_standby=include_standby,
        unable=_without_private_half(context),
    )
    context.report(f"key {key_id} is compromised: workers stop signing with it as soon as they hear")
    return record


def reconcile_once(context: KeysContext, regions: Sequence[str]) -> list[RegionResult]:
    """Take every step that is due now, and give the lease up."""
    try:
        return reconcile(context, regions)
    finally:
        context.release_lease()


def _without_private_half(context: KeysContext) -> frozenset[str]:
    """Keys that nobody can sign with. Trouble with the vault keeps nobody from ending a key: then none is left out."""
    try:
        kept = context.vault.key_ids()
    except VaultError:
        return frozenset()
    ids = [record.id for record in context.keys.list()]
    return frozenset(key_id for key_id in ids if key_id not in kept or context.private_keys.is_known_damaged(key_id))


def _active(records: Sequence[KeyRecord], region: str) -> str | None:
    places = (placement for record in records for placement in record.placements)
    return next((p.key_id for p in places if p.account_region.region == region and p.state is KeyState.ACTIVE), None)


def _fulfills_newest(context: KeysContext, records: Sequence[KeyRecord], region: str) -> bool:
    """Whether a key signs there, and not the one that the newest wish replaces."""
    newest = [request for request in context.rotations.newest(1) if region in request.previous_key_ids]
    return _active(records, region) is not None and all(
        replacement_keys(records, request)[region] for request in newest
    )


def _is_reactivated(records: Sequence[KeyRecord], region: str) -> bool:
    here = [
        placement for record in records for placement in record.placements if placement.account_region.region == region
    ]
    active = active_placement(here)
    return active is not None and active.retiring_at is not None


def _all_sign(context: KeysContext, regions: Sequence[str]) -> bool:
    records = context.keys.list()
    return all(_active(records, region) for region in regions)


def _until_led(pairs: Sequence[KeyPlacement], now: datetime, propagation_seconds: float) -> float:
    """How long until a key that stands there may sign, or one that is imported now."""
    leads = [usable_from(p, propagation_seconds) for p in pairs if p.state is KeyState.PREPARED and p.is_imported]
    return max(0.0, (min(leads) - now).total_seconds()) if leads else propagation_seconds
