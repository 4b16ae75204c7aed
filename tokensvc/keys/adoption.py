"""A key pair that IVS holds already, taken over as one of ours.

Rules of the file
- IVS has no way to import a public half twice, so a key that it holds is adopted: it gets our two tags, and is
  recorded. Killed between the two, the next survey finds the tags and records it.
- What tells that a pair without tags is a key's is its fingerprint: IVS shows no public half.
- A pair that bears another deployment's tag, or another key's, or that of a compromise, is refused before anything is
  changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokensvc.aws.arn import parse_arn
from tokensvc.errors import Conflict, KeyPairNotOwned
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import (
    DEPLOYMENT_TAG,
    KEY_TAG,
    PlaybackKeyPair,
    RegionInventory,
    get_pair,
    is_compromised,
    owner_tags,
    record_imported_pair,
)
from tokensvc.keys.lifecycle import KeyRecord, Step, StepKind, require_key
from tokensvc.keys.private_keys import open_private_key
from tokensvc.keys.steps import journaled


def adopt(context: KeysContext, inventory: RegionInventory, key_id: str, arn: str) -> None:
    """Take over this pair as that key's in the region. Doing it again changes nothing.

    One whose fingerprint differs is recorded as such, and never signs by itself. Raises KeyPairNotOwned, Conflict,
    ForeignDeployment, ControlPlaneError, VaultError or StoreError.
    """
    step = Step(StepKind.IMPORT, key_id, f"somebody asked to adopt {arn}")
    journaled(context, inventory.region, step, lambda: _adopt(context, inventory, key_id, arn))


def find_adoptable(context: KeysContext, inventory: RegionInventory, record: KeyRecord) -> str | None:
    """The ARN of the pair in the region, not yet ours, that shows this key's fingerprint.

    Raises KeyPairNotOwned when another deployment has it.
    """
    for pair in inventory.pairs:
        if owner_tags(pair)[0] != inventory.deployment_id:
            shown = get_pair(context, inventory.region, str(pair["arn"]))
            if shown.get("fingerprint") == record.fingerprint:
                _require_free(shown, record.id, inventory.deployment_id)
                return str(pair["arn"])
    return None


def _adopt(context: KeysContext, inventory: RegionInventory, key_id: str, arn: str) -> None:
    records = context.keys.list()
    record = require_key(records, key_id)
    _require_unrecorded(records, record, inventory.region, arn)
    open_private_key(context.vault, record)  # as for an import: nobody takes over what they cannot sign with
    context.deployment.bind_account(parse_arn(arn, "playback-key").account_region.account)
    pair = get_pair(context, inventory.region, arn)
    _require_free(pair, key_id, inventory.deployment_id)
    if record.compromised_at is not None or is_compromised(pair):
        raise Conflict(f"key {key_id} is compromised: it never signs again", subject={"key_id": key_id})
    tags = {DEPLOYMENT_TAG: inventory.deployment_id, KEY_TAG: key_id}
    context.control_plane.call(inventory.region, "TagResource", {"resourceArn": arn, "tags": tags})
    record_imported_pair(context, record, arn, pair)
    context.report(f"{arn} in {inventory.region} is adopted as key {key_id}")


def _require_unrecorded(records: Sequence[KeyRecord], record: KeyRecord, region: str, arn: str) -> None:
    record.require_readable()
    places = [placement for other in records for placement in other.all_placements]
    owner = next((placement.key_id for placement in places if placement.arn == arn), record.id)
    if owner != record.id:
        raise Conflict(f"{arn} is key {owner}", subject={"key_id": owner, "arn": arn})
    for placement in record.placements:
        if placement.account_region.region == region and placement.arn != arn:
            raise Conflict(
                f"IVS holds key {record.id} in {region} already, as {placement.arn}",
                subject={"key_id": record.id, "region": region, "arn": placement.arn},
            )


def _require_free(pair: PlaybackKeyPair, key_id: str, deployment_id: str) -> None:
    owner, tagged = owner_tags(pair)
    subject = {"key_id": key_id, "arn": str(pair["arn"])}
    if owner not in (None, deployment_id):
        raise KeyPairNotOwned(
            f"{pair['arn']} bears the tag of another deployment, {owner}: it is left alone", subject=subject
        )
    if tagged not in (None, key_id):
        raise KeyPairNotOwned(
            f"{pair['arn']} bears the tag of another key, {tagged}: it is left alone", subject=subject
        )
