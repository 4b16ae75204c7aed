"""Execution of lifecycle steps. The process may be killed at any point and a step repeated.

Invariants
- A step is recorded in the journal before its effect and after it. Its effects in IVS are recognized by our tags, so a
  step whose end was not recorded is picked up by the next inventory.
- A key is recorded before it is used, stored in the vault before IVS receives it, and imported only by a process that
  can decrypt its private key.
- A pair is marked as being deleted before IVS is asked to delete it, so that no earlier decision can make it active.
- If IVS does not hold a compromised pair although its deletion was never started, it was deleted in a period that a
  restored store has lost. Other keys may have signed in that period, so their drains start anew.
- A pair that is confirmed absent is recorded as absent, and IVS is not asked to delete it: if the confirmation were
  wrong, its tokens would stay valid.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tokensvc.errors import (
    AccountUnverified,
    Action,
    ConcurrentModification,
    Conflict,
    ControlPlaneConflict,
    ControlPlaneQuotaExceeded,
    ControlPlaneResourceMissing,
    ControlPlaneUnavailable,
    ForeignDeployment,
    KeyNotFound,
    KeyPairAlreadyImported,
    KeyPairQuotaReached,
    Remedy,
    StoreError,
    TokensvcError,
)
from tokensvc.jose import keypair
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import (
    DEPLOYMENT_TAG,
    KEY_TAG,
    PlaybackKeyPair,
    RegionInventory,
    get_pair,
    is_compromised,
    list_pairs,
    owner_tags,
    ownership,
    record_imported_pair,
)
from tokensvc.keys.lifecycle import (
    KeyPlacement,
    KeyRecord,
    KeyState,
    Step,
    StepKind,
    drains_at,
    require_key,
    unusable_keys,
)
from tokensvc.keys.private_keys import open_private_key
from tokensvc.keys.rotation_policy import MAX_KEY_PAIRS

_NEWEST_ENTRIES = 10
"""More than the journal has of a key that was never imported."""


def execute_step(context: KeysContext, inventory: RegionInventory, step: Step) -> None:
    """Execute one step in a region.

    Raises ControlPlaneError, KeyPairQuotaReached, KeyPairAlreadyImported, ConcurrentModification, VaultError or
    StoreError.
    """
    if step.key_id is None:
        generate_key(context, step.reason)
        return
    handler, key_id = _HANDLERS[step.kind], step.key_id
    journaled(context, inventory.region, step, lambda: handler(context, inventory, key_id))


def journaled(context: KeysContext, region: str, step: Step, action: Callable[[], None]) -> None:
    """Run the action of a step, and record its start and end in the journal."""
    key_id, details = str(step.key_id), {"region": region, "reason": step.reason}
    event = context.requester.event(f"keys.{step.kind}", key_id, details=details)
    entry = context.journal.start(step.kind, key_id, region, step.reason, context.now(), event=event)
    try:
        action()
    except TokensvcError as error:
        # After these errors the step may have had its effect, so the entry stays open.
        if not isinstance(error, (ControlPlaneUnavailable, StoreError)):
            context.journal.finish(entry.id, error.code, context.now())
        raise
    context.journal.finish(entry.id, "done", context.now())


def generate_key(context: KeysContext, reason: str) -> KeyRecord:
    """Generate a key pair, record it and store its private key in the vault."""
    record = store_key(context, context.new_key(), reason)
    context.report(
        f"generated key {record.id} ({reason}), fingerprint {record.fingerprint}; its private key is in the vault"
    )
    return record


def store_key(
    context: KeysContext, private_key: keypair.PrivateKey, reason: str, longest_ttl_seconds: int = 0
) -> KeyRecord:
    """Record a key pair and store its private key in the vault.

    `longest_ttl_seconds` is the longest lifetime of tokens that other programs signed with it.
    """
    key_id, public_key = context.new_id(), private_key.public_key()
    event = context.requester.event(f"keys.{StepKind.GENERATE}", key_id, details={"reason": reason})
    entry = context.journal.start(StepKind.GENERATE, key_id, "", reason, context.now(), event=event)
    fingerprint, der = keypair.fingerprint(public_key), keypair.public_der(public_key)
    record = context.keys.add(key_id, fingerprint, der, context.now(), longest_ttl_seconds)
    context.vault.put(key_id, private_key)
    context.journal.finish(entry.id, "done", context.now())
    return record


def import_pair(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Import the public key in the region and record it."""
    record = require_key(context.keys.list(), key_id)
    record.require_readable()
    if record.compromised_at is not None:
        raise Conflict(f"key {key_id} is compromised and cannot be used again", subject={"key_id": key_id})
    open_private_key(context.vault, record)  # a key that cannot sign here must never become active
    try:
        response = context.control_plane.call(
            inventory.region, "ImportPlaybackKeyPair", _import_request(record, inventory)
        )
    except ControlPlaneQuotaExceeded:
        raise quota_reached(context, inventory) from None
    except ControlPlaneConflict:
        pair = _already_imported(context, inventory, record)
        record_imported_pair(context, record, str(pair["arn"]), pair, may_have_signed=True)
        return
    pair = response["keyPair"]
    try:
        record_imported_pair(context, record, str(pair["arn"]), pair)
    except (ForeignDeployment, ConcurrentModification, KeyNotFound) as error:
        # A pair that cannot be recorded would never be deleted. But if the store was restored in the meantime, another
        # process may have found the pair before that and made it active. It stays, as every pair of a key that the
        # store does not have, and is reported.
        if not isinstance(error, KeyNotFound) or _knows_of_import(context, key_id):
            context.control_plane.call(inventory.region, "DeletePlaybackKeyPair", {"arn": pair["arn"]})
        raise


def _knows_of_import(context: KeysContext, key_id: str) -> bool:
    """Whether the store has the journal entry of an import of this key: then the key was discarded because its private
    key is lost. A store that was restored from before the import has none."""
    return any(entry.kind is StepKind.IMPORT for entry in context.journal.history(key_id, _NEWEST_ENTRIES))


def activate(context: KeysContext, inventory: RegionInventory, key_id: str, *, temporary: bool = False) -> None:
    """Make the key active in the region. The key that was active until now drains."""
    record = require_key(context.keys.list(), key_id)
    placement = placement_in(record, inventory.region)
    subject = {"key_id": key_id, "region": inventory.region}
    if not placement.is_imported or placement.state is KeyState.COMPROMISED:
        raise ConcurrentModification(
            f"key {key_id} is {placement.state} in {inventory.region} and cannot become active again", subject=subject
        )
    if key_id in inventory.region_state.absent_in_ivs:
        raise Conflict(
            f"key {key_id} cannot become active in {inventory.region}: IVS does not hold it there", subject=subject
        )
    open_private_key(context.vault, record)
    ceiling = context.deployment.read().max_ttl_seconds
    retiring_since = next((p.retiring_at for p in inventory.region_state.placements if p.key_id == key_id), None)
    context.keys.activate(
        key_id,
        placement.account_region,
        context.now(),
        ceiling,
        retiring_since=retiring_since,
        temporary=temporary,
    )
    context.report(f"key {key_id} is active in {inventory.region}")


def reactivate(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Make this retiring key active again until a better one is ready."""
    activate(context, inventory, key_id, temporary=True)


def record_absence(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Record that IVS does not hold the pair. If the key was active, the best key that IVS holds takes over."""
    placement = _require_placement(inventory, key_id)
    propagation_seconds = context.deployment.read().key_propagation_seconds
    record = context.keys.record_absence(
        placement, context.now(), propagation_seconds, unable=unusable_keys(inventory.region_state)
    )
    state = placement_in(record, inventory.region).state
    context.report(f"IVS does not hold {placement.arn}: key {key_id} is now {state} in {inventory.region}")


def delete(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Delete the pair from IVS in the region."""
    placement = _require_placement(inventory, key_id)
    if not inventory.region_state.account_verified:
        # These credentials may be for another account, where a 404 would be taken for "deleted already".
        raise AccountUnverified(
            f"IVS shows no key pair in {inventory.region} that identifies the AWS account; the deletion is postponed",
            operation="ListPlaybackKeyPairs",
            ivs_code="",
        )
    context.keys.start_deletion(placement, context.now())
    # Whether the store was restored since the compromise, and so has lost it and what was signed instead.
    is_restored = False
    try:
        context.control_plane.call(inventory.region, "DeletePlaybackKeyPair", {"arn": placement.arn})
    except ControlPlaneResourceMissing:
        context.report(f"{placement.arn} was already deleted")
        is_restored = placement.state is KeyState.COMPROMISED and placement.deleting_at is None
    context.keys.record_deletion(key_id, placement.account_region, context.now(), others_may_have_signed=is_restored)
    context.report(f"key {key_id} is deleted in {inventory.region}")


def delete_stray(context: KeysContext, region: str, key_id: str, arn: str) -> None:
    """Delete a compromised pair of ours that the store does not record as imported."""

    def delete_pair() -> None:
        try:
            context.control_plane.call(region, "DeletePlaybackKeyPair", {"arn": arn})
        except ControlPlaneResourceMissing:
            context.report(f"{arn} was already deleted")
        context.report(f"deleted {arn}, which is compromised")

    journaled(context, region, Step(StepKind.DELETE, key_id, f"{arn} is compromised"), delete_pair)


def placement_in(record: KeyRecord, region: str) -> KeyPlacement:
    """The key's placement in a region. Raises ConcurrentModification if it was never there."""
    placement = next((p for p in record.placements if p.account_region.region == region), None)
    if placement is None:
        raise ConcurrentModification(f"key {record.id} was never imported in {region}")
    return placement


def quota_reached(
    context: KeysContext, inventory: RegionInventory, reason: str = "", remedy: Remedy | None = None
) -> KeyPairQuotaReached:
    """The error that lists the pairs in a full region, and says how and when a slot is freed, or `reason` instead."""
    pairs = ", ".join(f"{pair['arn']} ({ownership(pair, inventory.deployment_id)})" for pair in inventory.pairs)
    if not reason:
        reason, remedy = how_to_free_slot(context, inventory)
    return KeyPairQuotaReached(
        f"{len(inventory.pairs)} of {MAX_KEY_PAIRS} key pair slots in {inventory.region} are in use: {pairs}. {reason}",
        subject={"region": inventory.region},
        remedy=remedy,
    )


def how_to_free_slot(context: KeysContext, inventory: RegionInventory) -> tuple[str, Remedy | None]:
    """When the next pair of ours is deleted or, if none will be, what an operator can delete."""
    policy, now = context.policy(), context.now()
    ours = [p for p in inventory.region_state.placements if p.is_imported]
    draining = [(drains_at(p, policy), p.key_id) for p in ours if p.state is KeyState.RETIRING]
    if draining:
        at, key_id = min(draining)
        text = f"The next slot frees at {at:%Y-%m-%dT%H:%M:%SZ} ({_in_words(at - now)}), when key {key_id} has drained"
        return text, None
    parameters = {"key_ids": ",".join(p.key_id for p in ours if p.state is KeyState.PREPARED)}
    if any(ownership(pair, inventory.deployment_id) == "foreign" for pair in inventory.pairs):
        parameters["foreign"] = "true"
    return "None of our keys is draining", Remedy(Action.FREE_KEY_SLOT, parameters)


def _require_placement(inventory: RegionInventory, key_id: str) -> KeyPlacement:
    placement = next((p for p in inventory.region_state.placements if p.key_id == key_id), None)
    if placement is None:
        raise ConcurrentModification(f"key {key_id} was never imported in {inventory.region}")
    return placement


def _in_words(duration: timedelta) -> str:
    """A duration from now in the unit that fits."""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 120:
        return f"in {seconds:.0f} seconds"
    return f"in {seconds / 60:.0f} minutes" if seconds < 7200 else f"in {seconds / 3600:.0f} hours"


def _import_request(record: KeyRecord, inventory: RegionInventory) -> dict[str, Any]:
    return {
        "publicKeyMaterial": keypair.public_pem(keypair.read_public_der(record.public_der)),
        "name": f"tokensvc-{record.id}",
        "tags": {DEPLOYMENT_TAG: inventory.deployment_id, KEY_TAG: record.id},
    }


def _already_imported(context: KeysContext, inventory: RegionInventory, record: KeyRecord) -> PlaybackKeyPair:
    """The pair that IVS already holds for this public key, if an import of ours succeeded without a response. Raises
    KeyPairAlreadyImported if somebody else imported it."""
    pairs = list_pairs(context.control_plane, inventory.region, context.deployment.read().account)
    for pair in pairs:
        if owner_tags(pair) == (inventory.deployment_id, record.id):
            if is_compromised(pair):
                raise Conflict(
                    f"key {record.id} is compromised and cannot be used again", subject={"key_id": record.id}
                )
            return get_pair(context, inventory.region, str(pair["arn"]))
    untagged = [str(pair["arn"]) for pair in pairs if owner_tags(pair)[0] is None]
    parameters = {"key_id": record.id}
    if len(untagged) == 1:
        parameters["arn"] = untagged[0]
    elif untagged:
        parameters["candidates"] = ",".join(untagged)
    raise KeyPairAlreadyImported(
        f"IVS already holds the public key of key {record.id} in {inventory.region}, in a pair without our tags",
        subject={"key_id": record.id, "region": inventory.region},
        remedy=Remedy(Action.ADOPT_KEY_PAIR, parameters),
    )


_HANDLERS: dict[StepKind, Callable[[KeysContext, RegionInventory, str], None]] = {
    StepKind.IMPORT: import_pair,
    StepKind.ACTIVATE: activate,
    StepKind.REACTIVATE: reactivate,
    StepKind.DELETE: delete,
    StepKind.RECORD_ABSENCE: record_absence,
}
