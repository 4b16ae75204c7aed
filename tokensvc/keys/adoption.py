"""Adoption: taking over a key pair that IVS already holds.

Invariants
- IVS accepts each public key only once, so a key that it already holds is adopted: its pair gets our two tags and is
  recorded. If the process is killed in between, the next inventory finds the tags and records the pair.
- An untagged pair is identified by its fingerprint: IVS does not return public keys.
- A pair with the tag of another deployment or key, or with the compromise tag, is rejected before anything changes.
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
    """Adopt this pair as that key's in the region. Idempotent.

    A pair with a different fingerprint is recorded as such, and only an operator may activate it. Raises
    KeyPairNotOwned, Conflict, ForeignDeployment, ControlPlaneError, VaultError or StoreError.
    """
    step = Step(StepKind.IMPORT, key_id, f"an operator requested the adoption of {arn}")
    journaled(context, inventory.region, step, lambda: _adopt(context, inventory, key_id, arn))


def find_adoptable(context: KeysContext, inventory: RegionInventory, record: KeyRecord) -> str | None:
    """The ARN of the pair in the region that has this key's fingerprint and is not ours yet.

    Raises KeyPairNotOwned if another deployment owns it.
    """
    for pair in inventory.pairs:
        if owner_tags(pair)[0] != inventory.deployment_id:
            details = get_pair(context, inventory.region, str(pair["arn"]))
            if details.get("fingerprint") == record.fingerprint:
                _require_not_owned(details, record.id, inventory.deployment_id)
                return str(pair["arn"])
    return None


def _adopt(context: KeysContext, inventory: RegionInventory, key_id: str, arn: str) -> None:
    records = context.keys.list()
    record = require_key(records, key_id)
    _require_unrecorded(records, record, inventory.region, arn)
    open_private_key(context.vault, record)  # as for an import: a key that cannot sign here must never become active
    context.deployment.bind_account(parse_arn(arn, "playback-key").account_region.account)
    pair = get_pair(context, inventory.region, arn)
    _require_not_owned(pair, key_id, inventory.deployment_id)
    if record.compromised_at is not None or is_compromised(pair):
        raise Conflict(f"key {key_id} is compromised and cannot be used again", subject={"key_id": key_id})
    tags = {DEPLOYMENT_TAG: inventory.deployment_id, KEY_TAG: key_id}
    context.control_plane.call(inventory.region, "TagResource", {"resourceArn": arn, "tags": tags})
    record_imported_pair(context, record, arn, pair)
    context.report(f"adopted {arn} in {inventory.region} as key {key_id}")


def _require_unrecorded(records: Sequence[KeyRecord], record: KeyRecord, region: str, arn: str) -> None:
    record.require_readable()
    owner = next((p.key_id for other in records for p in other.all_placements if p.arn == arn), record.id)
    if owner != record.id:
        raise Conflict(f"{arn} is recorded as key {owner}", subject={"key_id": owner, "arn": arn})
    for placement in record.placements:
        if placement.account_region.region == region and placement.arn != arn:
            raise Conflict(
                f"key {record.id} is already recorded in {region} as {placement.arn}",
                subject={"key_id": record.id, "region": region, "arn": placement.arn},
            )


def _require_not_owned(pair: PlaybackKeyPair, key_id: str, deployment_id: str) -> None:
    owner, tagged_key_id = owner_tags(pair)
    subject = {"key_id": key_id, "arn": str(pair["arn"])}
    if owner not in (None, deployment_id):
        raise KeyPairNotOwned(
            f"{pair['arn']} is not adopted because it has the tag of another deployment, {owner}", subject=subject
        )
    if tagged_key_id not in (None, key_id):
        raise KeyPairNotOwned(
            f"{pair['arn']} is not adopted because it has the tag of another key, {tagged_key_id}", subject=subject
        )
