"""How a key ends when somebody asks for it: retired, deleted by its ARN, or compromised and gone.

Rules of the file
- A pair of others is never deleted, whoever asks. One that bears our tag for a key that the store does not know is
  deleted when somebody names it, and never otherwise.
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
from tokensvc.keys.rotation_requests import RotationRequest
from tokensvc.keys.steps import journaled

RETRY_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Between tries to delete a compromised pair, before it is left to whoever performs next."""


class CompromiseReport(NamedTuple):
    """What a compromise left in one region."""

    region: str
    deleted_at: datetime | None
    """When IVS's pair went; None: it is there still, and its deletion is tried again."""
    valid_until: datetime
    """Until then tokens of the key could start playback: its deletion or, without one, the end of the last token that
    a worker which has not heard may sign."""


def retire(context: KeysContext, key_id: str, regions: Sequence[str], by: str) -> RotationRequest | None:
    """Stop signing with a key: a wish where it signs; where it only stands ready its pair is deleted.

    Returns the wish, if there is one to see through. Where it is retiring or retired already, nothing is done.
    """
    record = require_key(context.keys.list(), key_id)
    placement = {
        p.account_region.region: p.state
        for p in record.placements
        if p.account_region.region in regions and p.is_imported
    }
    signing = [region for region, state in placement.items() if state is KeyState.ACTIVE]
    ready = [region for region, state in placement.items() if state is KeyState.PREPARED]
    request = request_rotation(context, signing, by) if signing else None
    if ready or not record.placements:
        delete(context, key_id, ready)
    return request


def delete_pair(context: KeysContext, arn: str) -> None:
    """Delete the pair that IVS holds under this ARN. Raises KeyPairNotOwned when it is not ours, and as `delete`
    does."""
    region = parse_arn(arn, "playback-key").account_region.region
    deployment_id = context.deployment.read().id
    owner, key_id = owner_tags(get_pair(context, region, arn))
    if owner != deployment_id and key_id_of(context, arn) is None:
        raise KeyPairNotOwned(
            f"{arn} bears no tag of this deployment: it is somebody else's, and is left alone", subject={"arn": arn}
        )
    sync_inventory(context, region)  # which records the pair, should an earlier run have ended before it did
    known = key_id_of(context, arn)
    if known is not None and _is_held(context, arn):
        delete(context, known, [region])
        return
    step = Step(StepKind.DELETE, str(key_id), f"an operator asked for {arn} to be deleted")
    journaled(context, region, step, lambda: _call_delete(context, region, arn))


def key_id_of(context: KeysContext, arn: str) -> str | None:
    """The key that the store knows this pair as."""
    return next(
        (placement.key_id for r in context.keys.list() for placement in r.all_placements if placement.arn == arn), None
    )


def _is_held(context: KeysContext, arn: str) -> bool:
    """Whether the store records that IVS holds this pair, or cannot say. One that it records as gone may turn up
    again."""
    records = context.keys.list()
    return any(placement.arn == arn and placement.is_imported for r in records for placement in r.placements) or any(
        placement.arn == arn for r in records for placement in r.unreadable
    )


def wait_until_deleted(context: KeysContext, key_id: str, regions: Sequence[str]) -> None:
    """Go on after a compromise until IVS holds the key nowhere, or for half a minute."""
    for pause_seconds in RETRY_PAUSES_SECONDS:
        left = [p.account_region.region for p in require_key(context.keys.list(), key_id).placements if p.is_imported]
        if not left:
            return
        context.report(f"IVS may hold key {key_id} still in {', '.join(left)}; again in {pause_seconds:g} seconds")
        context.sleep(pause_seconds)
        reconcile_once(context, regions)


def compromise_report(record: KeyRecord, policy: RotationPolicy) -> list[CompromiseReport]:
    """What is left of a compromised key where it was held when it was compromised."""
    return [
        CompromiseReport(
            placement.account_region.region,
            placement.retired_at,
            placement.retired_at
            or placement.compromised_at + timedelta(seconds=policy.drain_seconds(placement.longest_ttl_seconds)),
        )
        for placement in record.placements
        if placement.compromised_at is not None
        and (placement.retired_at is None or placement.retired_at >= placement.compromised_at)
    ]


def _call_delete(context: KeysContext, region: str, arn: str) -> None:
    context.control_plane.call(region, "DeletePlaybackKeyPair", {"arn": arn})
    context.report(f"{arn} is deleted")
