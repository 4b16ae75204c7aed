"""The steps, each performed so that it can be killed anywhere and taken again.

Rules of the file
- A step is noted in the journal before its effect and after. What has an effect in IVS is found again there by our
  tags, so a step whose end was never noted is taken up by the next survey.
- A key is recorded before anything is done with it, kept in the vault before IVS hears of it, and imported only by
  someone who can open it.
- A pair is marked as being deleted before IVS is told to delete it: nothing that was decided earlier can make it sign.
- A compromised pair that IVS does not hold although its deletion was never begun was deleted at a time that a restored
  store has forgotten, in which other keys may have signed: their drains start anew.
- A pair that IVS is proven not to hold is recorded as such, and IVS is not asked to delete it: should the proof be
  wrong, its tokens live on.
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
from tokensvc.keys.rotation_policy import KEY_PAIRS_MAX


def execute_step(context: KeysContext, inventory: RegionInventory, step: Step) -> None:
    """Take one step in a region. Raises ControlPlaneError, KeyPairQuotaReached, KeyPairAlreadyImported,
    ConcurrentModification, VaultError, StoreError."""
    if step.key_id is None:
        generate_key(context, step.reason)
        return
    act, key_id = _ACTS[step.kind], step.key_id
    journaled(context, inventory.region, step, lambda: act(context, inventory, key_id))


def journaled(context: KeysContext, region: str, step: Step, act: Callable[[], None]) -> None:
    """Do what a step consists of, noted before and after."""
    entry = context.journal.begin(step.kind, str(step.key_id), region, step.reason, context.now())
    try:
        act()
    except TokensvcError as error:
        if not isinstance(
            error, (ControlPlaneUnavailable, StoreError)
        ):  # which may have had an effect: the entry stays open
            context.journal.end(entry.id, error.code, context.now())
        raise
    context.journal.end(entry.id, "done", context.now())


def generate_key(context: KeysContext, reason: str) -> KeyRecord:
    """Make a key pair: recorded, and its private half in the vault."""
    record = store_key(context, context.new_key(), reason)
    fingerprint = f"fingerprint {record.fingerprint}"
    context.report(f"made key {record.id}, since {reason}; {fingerprint}, its private half is in the vault")
    return record


def store_key(
    context: KeysContext, private_key: keypair.PrivateKey, reason: str, longest_ttl_seconds: int = 0
) -> KeyRecord:
    """Record a key pair, and how long tokens that others minted with it may live, and keep its private half."""
    key_id, public_key = context.new_id(), private_key.public_key()
    entry = context.journal.begin(StepKind.GENERATE, key_id, "", reason, context.now())
    shown, der = keypair.fingerprint(public_key), keypair.public_der(public_key)
    record = context.keys.add(key_id, shown, der, context.now(), longest_ttl_seconds)
    context.vault.put(key_id, private_key)
    context.journal.end(entry.id, "done", context.now())
    return record


def import_pair(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Let IVS hold the public half in that region, and note it."""
    record = require_key(context.keys.list(), key_id)
    record.require_readable()
    if record.compromised_at is not None:
        raise Conflict(f"key {key_id} is compromised: it never signs again", subject={"key_id": key_id})
    open_private_key(context.vault, record)  # a key that nobody here can sign with must never take over
    try:
        answer = context.control_plane.call(
            inventory.region, "ImportPlaybackKeyPair", _import_request(record, inventory)
        )
    except ControlPlaneQuotaExceeded:
        raise quota_reached(context, inventory) from None
    except ControlPlaneConflict:
        pair = _held_already(context, inventory, record)
        record_imported_pair(context, record, str(pair["arn"]), pair, may_have_signed=True)
        return
    pair = answer["keyPair"]
    try:
        record_imported_pair(context, record, str(pair["arn"]), pair)
    except (ForeignDeployment, ConcurrentModification, KeyNotFound):  # nobody would ever delete what cannot be noted
        context.control_plane.call(inventory.region, "DeletePlaybackKeyPair", {"arn": pair["arn"]})
        raise


def activate(context: KeysContext, inventory: RegionInventory, key_id: str, *, temporary: bool = False) -> None:
    """Sign with this key in that region from now on; the one that signed so far drains."""
    record = require_key(context.keys.list(), key_id)
    placement = placement_in(record, inventory.region)
    subject = {"key_id": key_id, "region": inventory.region}
    if not placement.is_imported or placement.state is KeyState.COMPROMISED:
        raise ConcurrentModification(
            f"key {key_id} is {placement.state} in {inventory.region}: it never signs there again", subject=subject
        )
    if key_id in inventory.region_state.absent_in_ivs:
        raise Conflict(
            f"IVS does not hold key {key_id} in {inventory.region}, so it cannot sign there", subject=subject
        )
    open_private_key(context.vault, record)
    ceiling = context.deployment.read().max_ttl_seconds
    since = next((pair.retiring_at for pair in inventory.region_state.placements if pair.key_id == key_id), None)
    context.keys.activate(
        key_id, placement.account_region, context.now(), ceiling, retiring_since=since, temporary=temporary
    )
    context.report(f"key {key_id} signs in {inventory.region}")


def reactivate(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Sign with this retiring key again, until a better one is ready."""
    activate(context, inventory, key_id, temporary=True)


def record_absence(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Record that IVS does not hold the pair; where it signed, the best key that IVS holds takes over."""
    placement = next((pair for pair in inventory.region_state.placements if pair.key_id == key_id), None)
    if placement is None:
        raise ConcurrentModification(f"key {key_id} is not known to be in {inventory.region}")
    propagation_seconds = context.deployment.read().key_propagation_seconds
    record = context.keys.record_absence(
        placement, context.now(), propagation_seconds, unable=unusable_keys(inventory.region_state)
    )
    context.report(
        f"IVS does not hold {placement.arn}: key {key_id} is {placement_in(record, inventory.region).state} there"
    )


def delete(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    """Delete the pair from IVS in that region."""
    placement = next((pair for pair in inventory.region_state.placements if pair.key_id == key_id), None)
    if placement is None:
        raise ConcurrentModification(f"key {key_id} is not known to be in {inventory.region}")
    if not inventory.region_state.account_verified:
        # Nothing shows that these credentials are of the right account, where a 404 would mean "deleted already".
        message = (
            f"IVS shows no key pair in {inventory.region}, so what is to be deleted there is left for the next time"
        )
        raise AccountUnverified(message, operation="ListPlaybackKeyPairs", ivs_code="")
    context.keys.start_deletion(placement, context.now())
    was_forgotten = False  # a compromise, and what signed instead, by a store that was restored since
    try:
        context.control_plane.call(inventory.region, "DeletePlaybackKeyPair", {"arn": placement.arn})
    except ControlPlaneResourceMissing:
        context.report(f"IVS no longer held {placement.arn}")
        was_forgotten = placement.state is KeyState.COMPROMISED and placement.deleting_at is None
    context.keys.record_deletion(key_id, placement.account_region, context.now(), others_may_have_signed=was_forgotten)
    context.report(f"key {key_id} is deleted in {inventory.region}")


def delete_stray(context: KeysContext, region: str, key_id: str, arn: str) -> None:
    """Delete a compromised pair of ours that the store does not record as held."""

    def act() -> None:
        try:
            context.control_plane.call(region, "DeletePlaybackKeyPair", {"arn": arn})
        except ControlPlaneResourceMissing:
            context.report(f"IVS no longer held {arn}")
        context.report(f"{arn} is deleted: it is compromised")

    journaled(context, region, Step(StepKind.DELETE, key_id, f"{arn} is compromised"), act)


def placement_in(record: KeyRecord, region: str) -> KeyPlacement:
    """What a key is in a region. Raises ConcurrentModification when it was never there."""
    found = next((placement for placement in record.placements if placement.account_region.region == region), None)
    if found is None:
        raise ConcurrentModification(f"key {record.id} is not known to be in {region}")
    return found


def quota_reached(
    context: KeysContext, inventory: RegionInventory, reason: str = "", remedy: Remedy | None = None
) -> KeyPairQuotaReached:
    """The refusal that lists what fills a region, and says what makes room there and when, or `reason` instead."""
    held = ", ".join(f"{pair['arn']} ({ownership(pair, inventory.deployment_id)})" for pair in inventory.pairs)
    if not reason:
        reason, remedy = how_to_free_slot(context, inventory)
    return KeyPairQuotaReached(
        f"IVS holds {len(inventory.pairs)} key pairs in {inventory.region} and takes {KEY_PAIRS_MAX}: {held}. {reason}",
        subject={"region": inventory.region},
        remedy=remedy,
    )


def how_to_free_slot(context: KeysContext, inventory: RegionInventory) -> tuple[str, Remedy | None]:
    """When the next pair of ours is deleted; where none will be, what an operator can delete."""
    policy, now = context.policy(), context.now()
    ours = [pair for pair in inventory.region_state.placements if pair.is_imported]
    ending = [(drains_at(p, policy), p.key_id) for p in ours if p.state is KeyState.RETIRING]
    if ending:
        at, key_id = min(ending)
        text = f"Key {key_id} drains until {at:%Y-%m-%dT%H:%M:%SZ}, {_in_words(at - now)}; its pair is deleted then"
        return text, None
    parameters = {"key_ids": ",".join(p.key_id for p in ours if p.state is KeyState.PREPARED)}
    if any(ownership(pair, inventory.deployment_id) == "foreign" for pair in inventory.pairs):
        parameters["foreign"] = "true"
    return "No pair of ours is on its way out", Remedy(Action.FREE_KEY_SLOT, parameters)


def _in_words(left: timedelta) -> str:
    """How far off an instant is, in the unit that fits."""
    seconds = max(0.0, left.total_seconds())
    if seconds < 120:
        return f"in {seconds:.0f} seconds"
    return f"in {seconds / 60:.0f} minutes" if seconds < 7200 else f"in {seconds / 3600:.0f} hours"


def _import_request(record: KeyRecord, inventory: RegionInventory) -> dict[str, Any]:
    return {
        "publicKeyMaterial": keypair.public_pem(keypair.read_public_der(record.public_der)),
        "name": f"tokensvc-{record.id}",
        "tags": {DEPLOYMENT_TAG: inventory.deployment_id, KEY_TAG: record.id},
    }


def _held_already(context: KeysContext, inventory: RegionInventory, record: KeyRecord) -> PlaybackKeyPair:
    """IVS holds this public half: by an import of ours that went through unheard, or by somebody else's."""
    pairs = list_pairs(context.control_plane, inventory.region, context.deployment.read().account)
    for pair in pairs:
        if owner_tags(pair) == (inventory.deployment_id, record.id):
            if is_compromised(pair):
                raise Conflict(f"key {record.id} is compromised: it never signs again", subject={"key_id": record.id})
            return get_pair(context, inventory.region, str(pair["arn"]))
    strange = [str(pair["arn"]) for pair in pairs if owner_tags(pair)[0] is None]
    parameters = {"key_id": record.id}
    if len(strange) == 1:
        parameters["arn"] = strange[0]
    elif strange:
        parameters["candidates"] = ",".join(strange)
    raise KeyPairAlreadyImported(
        f"IVS holds the public half of key {record.id} in {inventory.region} already, in a pair without our tags",
        subject={"key_id": record.id, "region": inventory.region},
        remedy=Remedy(Action.ADOPT_KEY_PAIR, parameters),
    )


_ACTS: dict[StepKind, Callable[[KeysContext, RegionInventory, str], None]] = {
    StepKind.IMPORT: import_pair,
    StepKind.ACTIVATE: activate,
    StepKind.REACTIVATE: reactivate,
    StepKind.DELETE: delete,
    StepKind.RECORD_ABSENCE: record_absence,
}
