"""Import of keys on request: a private key from elsewhere, or a key pair that IVS already holds.

Invariants
- An import that was started is continued: the same key again is the same record, and a region that has it is skipped.
- A key pair that IVS already holds is adopted, not imported again: IVS accepts each public key only once.
- A region that cannot take a key does not delay the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokensvc.aws.arn import parse_arn
from tokensvc.errors import Conflict, ControlPlaneError, TokensvcError
from tokensvc.jose import keypair
from tokensvc.keys.adoption import adopt, find_adoptable
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import RegionInventory, sync_inventory
from tokensvc.keys.lifecycle import KeyRecord, Step, StepKind, require_key
from tokensvc.keys.steps import execute_step, store_key


def import_key(
    context: KeysContext,
    private_key: keypair.PrivateKey,
    regions: Sequence[str],
    arns: Sequence[str] = (),
    longest_ttl_seconds: int = 0,
) -> KeyRecord:
    """Take over a private key that was generated elsewhere. An import that was started before is continued.

    Where IVS already holds the key, that pair is adopted: the one in `arns`, or the untagged one with its fingerprint.
    `longest_ttl_seconds` is the longest lifetime of tokens that other programs signed with it.
    """
    der = keypair.public_der(private_key.public_key())
    record = next((record for record in context.keys.list() if record.public_der == der), None)
    if record is None:
        record = store_key(context, private_key, "imported by an operator", longest_ttl_seconds)
        context.report(
            f"stored the given key as {record.id}, fingerprint {record.fingerprint}; its private key is in the vault"
        )
    elif record.compromised_at is not None:
        raise Conflict(
            f"this is key {record.id}, which is compromised and cannot be used again", subject={"key_id": record.id}
        )
    else:
        record.require_readable()
        context.keys.add(record.id, record.fingerprint, der, record.created_at, longest_ttl_seconds)
        if context.damage(record):  # replace the damaged private key with the given one
            context.vault.remove(record.id)
        if record.id not in context.vault.key_ids():
            context.vault.put(record.id, private_key)
    key_id, arns_by_region = record.id, _by_region(arns)
    for_each_region(
        context, regions, lambda region: _import_or_adopt(context, key_id, region, arns_by_region.get(region))
    )
    return require_key(context.keys.list(), key_id)


def adopt_pairs(context: KeysContext, key_id: str, arns: Sequence[str]) -> KeyRecord:
    """Adopt these pairs, which IVS already holds, as this key's, each in its region."""
    require_key(context.keys.list(), key_id)
    arns_by_region = _by_region(arns)

    def adopt_in(region: str) -> None:
        adopt(context, sync_inventory(context, region), key_id, arns_by_region[region])

    for_each_region(context, list(arns_by_region), adopt_in)
    return require_key(context.keys.list(), key_id)


def import_new(context: KeysContext, key_id: str, region: str) -> None:
    """Import a new key in a region, unless it is there already."""
    inventory = sync_inventory(context, region)
    if not any(p.key_id == key_id for p in inventory.region_state.placements):
        _import(context, inventory, key_id)


def for_each_region(context: KeysContext, regions: Sequence[str], action: Callable[[str], None]) -> None:
    """Run the action for each region. An error in one does not stop the others; the first is raised at the end."""
    errors: list[TokensvcError] = []
    for region in regions:
        try:
            action(region)
        except (ControlPlaneError, Conflict) as error:
            context.report(f"{region}: skipped: {error.message}")
            errors.append(error)
    if errors:
        raise errors[0]


def _import_or_adopt(context: KeysContext, key_id: str, region: str, arn: str | None) -> None:
    """Adopt a key's pair in a region, or import the key there, unless it is there already."""
    inventory = sync_inventory(context, region)
    record = require_key(context.keys.list(), key_id)
    if record.compromised_at is not None:  # as a pair's tag may just have shown
        raise Conflict(f"key {key_id} is compromised and cannot be used again", subject={"key_id": key_id})
    placement = next((p for p in inventory.region_state.placements if p.key_id == key_id), None)
    if placement is not None and not placement.is_imported:
        raise Conflict(
            f"key {key_id} was in {region} before, is now {placement.state} and cannot be used there again",
            subject={"key_id": key_id, "region": region},
        )
    if placement is None or arn is not None:
        arn = arn or find_adoptable(context, inventory, record)
        if arn is not None:
            adopt(context, inventory, key_id, arn)
        else:
            _import(context, inventory, key_id)


def _import(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    execute_step(context, inventory, Step(StepKind.IMPORT, key_id, "requested by an operator"))


def _by_region(arns: Sequence[str]) -> dict[str, str]:
    return {parse_arn(arn, "playback-key").account_region.region: arn for arn in arns}
