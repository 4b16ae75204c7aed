"""Ending the use of a key on request: retire it, delete its pair by ARN, or see its compromise through.

Invariants
- A foreign key pair is never deleted, whatever the request. A pair that has our tag for a key that the store does not
  know is deleted only if somebody names its ARN.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokensvc.aws.arn import parse_arn
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import KeyPairNotOwned
from tokensvc.keys.commands import delete, reconcile_once, request_rotation
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import get_pair, owner_tags, sync_inventory
from tokensvc.keys.lifecycle import KeyRecord, KeyState, Step, StepKind, require_key
from tokensvc.keys.steps import journaled
from tokensvc.keys.store import RotationRequest

RETRY_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses between attempts to delete a compromised pair, before it is left to the rotation leader."""


class CompromiseReport(NamedTuple):
    """The state of a compromised key in one region."""

    region: str
    deleted_at: datetime | None
    """When the pair was deleted from IVS. None: it is still there, and the deletion is retried."""
    valid_until: datetime
    """Until when tokens of the key could start playback: the time of the deletion or, without one, the expiry of the
    last token that a stale worker may sign."""


def retire(context: KeysContext, key_id: str, regions: Sequence[str], by: str) -> RotationRequest | None:
    """Stop signing with a key: request a rotation where it is active, and delete its pair where it is prepared.

    Returns the rotation request, if there is one to complete. Where the key is retiring or retired, nothing is done.
    """
    record = require_key(context.keys.list(), key_id)
    states = {
        p.account_region.region: p.state
        for p in record.placements
        if p.account_region.region in regions and p.is_imported
    }
    active_in = [region for region, state in states.items() if state is KeyState.ACTIVE]
    prepared_in = [region for region, state in states.items() if state is KeyState.PREPARED]
    request = request_rotation(context, active_in, by) if active_in else None
    if prepared_in or not record.placements:
        delete(context, key_id, prepared_in)
    return request


def delete_pair(context: KeysContext, arn: str) -> None:
    """Delete the pair with this ARN from IVS. Raises KeyPairNotOwned if it is not ours, and what `delete` raises."""
    region = parse_arn(arn, "playback-key").account_region.region
    deployment_id = context.deployment.read().id
    owner, tagged_key_id = owner_tags(get_pair(context, region, arn))
    if owner != deployment_id and key_id_of(context, arn) is None:
        raise KeyPairNotOwned(
            f"{arn} is not deleted because it does not have the tag of this deployment", subject={"arn": arn}
        )
    sync_inventory(context, region)  # records the pair, in case an earlier run was killed before it did
    key_id = key_id_of(context, arn)
    if key_id is not None and _is_recorded_as_imported(context, arn):
        delete(context, key_id, [region])
        return

    def delete_unrecorded() -> None:
        context.control_plane.call(region, "DeletePlaybackKeyPair", {"arn": arn})
        context.report(f"deleted {arn}")

    step = Step(StepKind.DELETE, str(tagged_key_id), f"an operator requested the deletion of {arn}")
    journaled(context, region, step, delete_unrecorded)


def key_id_of(context: KeysContext, arn: str) -> str | None:
    """The key that this pair is recorded as."""
    return next((p.key_id for r in context.keys.list() for p in r.all_placements if p.arn == arn), None)


def wait_until_deleted(context: KeysContext, key_id: str, regions: Sequence[str]) -> None:
    """After a compromise, retry until IVS no longer holds the key anywhere, or for about half a minute."""
    for pause_seconds in RETRY_PAUSES_SECONDS:
        placements = require_key(context.keys.list(), key_id).placements
        remaining = ", ".join(p.account_region.region for p in placements if p.is_imported)
        if not remaining:
            return
        context.report(
            f"deletion of key {key_id} in {remaining} is not confirmed by IVS; retrying in {pause_seconds:g} s"
        )
        context.sleep(pause_seconds)
        reconcile_once(context, regions)


def compromise_report(record: KeyRecord, policy: RotationPolicy) -> list[CompromiseReport]:
    """The state of a compromised key in each region where it was imported at the time of the compromise."""
    return [
        CompromiseReport(
            p.account_region.region,
            p.retired_at,
            p.retired_at or p.compromised_at + timedelta(seconds=policy.drain_seconds(p.longest_ttl_seconds)),
        )
        for p in record.placements
        if p.compromised_at is not None and (p.retired_at is None or p.retired_at >= p.compromised_at)
    ]


def _is_recorded_as_imported(context: KeysContext, arn: str) -> bool:
    """Whether IVS holds this pair according to the store, or may hold it. (A pair that is recorded as deleted may still
    show up in IVS.)"""
    records = context.keys.list()
    return any(p.arn == arn and p.is_imported for r in records for p in r.placements) or any(
        p.arn == arn for r in records for p in r.unreadable
    )
