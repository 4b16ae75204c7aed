"""Keys that are brought to IVS because somebody asked: a private key from elsewhere, a pair that IVS holds already.

Rules of the file
- What was begun is gone on with: the same key again is the same record, and a region that has it is left as it is.
- A key that IVS holds already is adopted, not imported again: IVS takes a public half once.
- A region that cannot take a key delays no other.
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
    """Take over a private key that somebody brings; what is there of it already is gone on with.

    Where IVS holds it, that pair is adopted: one of `arns`, or the one without tags that shows its fingerprint.
    `longest_ttl_seconds` is how long tokens that others minted with it may live.
    """
    der = keypair.public_der(private_key.public_key())
    known = next((record for record in context.keys.list() if record.public_der == der), None)
    if known is None:
        known = store_key(context, private_key, "somebody brought it", longest_ttl_seconds)
        stored = f"stored the given key as {known.id}, fingerprint {known.fingerprint}"
        context.report(f"{stored}; its private half is in the vault")
    elif known.compromised_at is not None:
        raise Conflict(
            f"this is key {known.id}, which is compromised: it never signs again", subject={"key_id": known.id}
        )
    else:
        known.require_readable()
        context.keys.add(known.id, known.fingerprint, der, known.created_at, longest_ttl_seconds)
        if context.damage(known):  # its content is good for nothing, and the right key is at hand
            context.vault.remove(known.id)
        if known.id not in context.vault.key_ids():
            context.vault.put(known.id, private_key)
    chosen = {parse_arn(arn, "playback-key").account_region.region: arn for arn in arns}
    for_each_region(context, regions, lambda region: _bring(context, known.id, region, chosen.get(region)))
    return require_key(context.keys.list(), known.id)


def adopt_pairs(context: KeysContext, key_id: str, arns: Sequence[str]) -> KeyRecord:
    """Take over these pairs, which IVS holds already, as this key's, each in its region."""
    require_key(context.keys.list(), key_id)
    chosen = {parse_arn(arn, "playback-key").account_region.region: arn for arn in arns}
    for_each_region(
        context, list(chosen), lambda region: adopt(context, sync_inventory(context, region), key_id, chosen[region])
    )
    return require_key(context.keys.list(), key_id)


def import_new(context: KeysContext, key_id: str, region: str) -> None:
    """Import a key that was just made, unless it is there already."""
    inventory = sync_inventory(context, region)
    if not any(p.key_id == key_id for p in inventory.region_state.placements):
        _import(context, inventory, key_id)


def for_each_region(context: KeysContext, regions: Sequence[str], act: Callable[[str], None]) -> None:
    """Do it in each region; one where it cannot be done delays no other, and is raised at the end."""
    failures: list[TokensvcError] = []
    for region in regions:
        try:
            act(region)
        except (ControlPlaneError, Conflict) as error:
            context.report(f"{region} is passed over: {error.message}")
            failures.append(error)
    if failures:
        raise failures[0]


def _bring(context: KeysContext, key_id: str, region: str, arn: str | None) -> None:
    """Adopt a key's pair in a region, or import it there, unless it is there already."""
    inventory = sync_inventory(context, region)
    record = require_key(context.keys.list(), key_id)
    if record.compromised_at is not None:  # as a pair's tag may have shown just now
        raise Conflict(f"key {key_id} is compromised: it never signs again", subject={"key_id": key_id})
    placement = next((p for p in inventory.region_state.placements if p.key_id == key_id), None)
    if placement is not None and not placement.is_imported:
        raise Conflict(
            f"key {key_id} was in {region} and is {placement.state}: it never signs there again",
            subject={"key_id": key_id, "region": region},
        )
    if placement is None or arn is not None:
        arn = arn or find_adoptable(context, inventory, record)
        if arn is not None:
            adopt(context, inventory, key_id, arn)
        else:
            _import(context, inventory, key_id)


def _import(context: KeysContext, inventory: RegionInventory, key_id: str) -> None:
    execute_step(context, inventory, Step(StepKind.IMPORT, key_id, "somebody asked for it"))
