"""How keys, rotations and compromises are presented, over HTTP and by the commands alike.

Invariants
- No view contains a private key, nor anything derived from one.
- Ages and deadlines are computed from an instant that is passed in, on the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import Field

from tokensvc.deployment.record import RotationPolicy
from tokensvc.json_models import Timestamp, ViewModel
from tokensvc.keys.commands import CompromiseImpact
from tokensvc.keys.journal import JournalEntry
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, StepKind, drains_at
from tokensvc.keys.rotation_requests import RotationRequest
from tokensvc.keys.stale_workers import StaleWorker
from tokensvc.timestamps import rfc3339_of


class KeyPlacementView(ViewModel):
    """What a key is in one account and region."""

    account: str
    region: str
    state: KeyState
    since: Timestamp = Field(description="When it came into this state")
    age_seconds: int = Field(description="How long ago that was")
    arn: str = Field(description="The playback key pair in IVS")
    imported_at: Timestamp
    activated_at: Timestamp | None
    retiring_at: Timestamp | None = Field(
        description="When its drain began; of a prepared key, when it was found that it may have signed at a time that "
        "a restored store has forgotten"
    )
    drains_at: Timestamp | None = Field(
        description="Of a retiring key: when its last token has ended and its pair goes"
    )
    retired_at: Timestamp | None = Field(description="Since when IVS holds the pair no more")
    compromised_at: Timestamp | None
    longest_ttl_seconds: int = Field(description="The longest life that a token of it may have there")
    fingerprint_differs: bool = Field(description="IVS shows another fingerprint than ours: somebody must look")


class KeyView(ViewModel):
    """One of our key pairs. Without places it was made and is not known to be in IVS."""

    id: str
    fingerprint: str
    created_at: Timestamp
    compromised_at: Timestamp | None
    damage: str | None = Field(description="Why the store's record of it, or of one of its places, cannot be read")
    placements: list[KeyPlacementView]


class KeyPage(ViewModel):
    """Key pairs, oldest first."""

    keys: list[KeyView]
    next_token: str | None = Field(None, description="Ask again with it for those that follow")


class StepView(ViewModel):
    """One step of a key's life, as the journal has it."""

    step: StepKind
    region: str | None
    reason: str
    started_at: Timestamp
    finished_at: Timestamp | None
    outcome: str | None = Field(description="`done`, or a failure's code; null while nobody knows")


class StaleWorkerView(ViewModel):
    """A worker that may not have heard of the newest keys."""

    worker_id: str
    host: str
    pid: int
    last_heartbeat_at: Timestamp = Field(description="When it was last heard of")
    until: Timestamp = Field(description="By then it has heard, or signs nothing")


class KeyDetailView(KeyView):
    """A key pair, what was done with it, and who may not know of it."""

    history: list[StepView] = Field(description="Newest first")
    stale_workers: list[StaleWorkerView]
    workers_unable_to_decrypt: list[str] = Field(description="Workers that cannot open its private half")


class RegionRotationView(ViewModel):
    """How far a rotation is in one region."""

    region: str
    previous_key_id: str | None = Field(description="The key that signed there when it was asked for")
    active_key_id: str | None = Field(description="The key that has taken over; null while none has")


class RotationView(ViewModel):
    """A rotation that somebody asked for."""

    id: str
    requested_at: Timestamp
    requested_by: str
    done: bool
    regions: list[RegionRotationView]


class CompromiseImpactView(ViewModel):
    """What a compromise brings about in one region where IVS holds the key."""

    region: str
    was_active: bool = Field(description="Whether the key signed there")
    successor: str | None = Field(description="The key that takes over at once")
    outage_seconds: float = Field(description="How long no token can be signed there")
    affected_token_seconds: int = Field(description="Tokens of so many seconds die")


class CompromiseView(ViewModel):
    """A compromise: the key signs no more; its pairs are deleted, and deletion is retried until it is done."""

    id: str
    compromised_at: Timestamp
    regions: list[CompromiseImpactView]
    stale_workers: list[StaleWorkerView]


class ReferenceTime(NamedTuple):
    """What ages and deadlines are computed from: the store's clock, and the rotation policy."""

    now: datetime
    policy: RotationPolicy


def key_view(record: KeyRecord, at: ReferenceTime) -> KeyView:
    """A key as lists present it."""
    return KeyView(
        id=record.id,
        fingerprint=record.fingerprint,
        created_at=rfc3339_of(record.created_at),
        compromised_at=_timestamp_or_none(record.compromised_at),
        damage=record.damage or None,
        placements=[_place(placement, at) for placement in record.placements],
    )


def key_detail_view(
    record: KeyRecord,
    at: ReferenceTime,
    history: Sequence[JournalEntry],
    behind: Sequence[StaleWorker],
    workers_unable_to_decrypt: Sequence[str],
) -> KeyDetailView:
    """A key with its history, and the workers that may not have loaded it."""
    return KeyDetailView(
        **dict(key_view(record, at)),
        history=[_step(entry) for entry in history],
        stale_workers=[stale_worker_view(u) for u in behind],
        workers_unable_to_decrypt=list(workers_unable_to_decrypt),
    )


def rotation_view(request: RotationRequest, signing: Mapping[str, str | None]) -> RotationView:
    """A rotation request, and by region the key that became active."""
    return RotationView(
        id=request.id,
        requested_at=rfc3339_of(request.requested_at),
        requested_by=request.requested_by,
        done=all(signing.values()),
        regions=[
            RegionRotationView(region=region, previous_key_id=replaces, active_key_id=signing[region])
            for region, replaces in request.previous_key_ids.items()
        ],
    )


def compromise_impact_view(record: KeyRecord, foreseen: CompromiseImpact) -> CompromiseImpactView:
    """What a compromise of this key means for a region."""
    longest = max(p.longest_ttl_seconds for p in record.placements if p.account_region.region == foreseen.region)
    return CompromiseImpactView(
        region=foreseen.region,
        was_active=foreseen.was_active,
        successor=foreseen.successor,
        outage_seconds=foreseen.outage_seconds,
        affected_token_seconds=longest,
    )


def stale_worker_view(stale: StaleWorker) -> StaleWorkerView:
    """A worker that may not have loaded the newest keys yet."""
    said = stale.worker.heartbeat
    return StaleWorkerView(
        worker_id=said.worker_id,
        host=said.host,
        pid=said.pid,
        last_heartbeat_at=rfc3339_of(stale.worker.last_heartbeat_at),
        until=rfc3339_of(stale.until),
    )


def _place(placement: KeyPlacement, at: ReferenceTime) -> KeyPlacementView:
    since = state_since(placement)
    return KeyPlacementView(
        account=placement.account_region.account,
        region=placement.account_region.region,
        state=placement.state,
        since=rfc3339_of(since),
        age_seconds=max(0, int((at.now - since).total_seconds())),
        arn=placement.arn,
        imported_at=rfc3339_of(placement.imported_at),
        activated_at=_timestamp_or_none(placement.activated_at),
        retiring_at=_timestamp_or_none(placement.retiring_at),
        drains_at=rfc3339_of(drains_at(placement, at.policy)) if placement.state is KeyState.RETIRING else None,
        retired_at=_timestamp_or_none(placement.retired_at),
        compromised_at=_timestamp_or_none(placement.compromised_at),
        longest_ttl_seconds=placement.longest_ttl_seconds,
        fingerprint_differs=placement.fingerprint_differs,
    )


def state_since(placement: KeyPlacement) -> datetime:
    """When a key came into the state that it is in."""
    match placement.state:
        case KeyState.COMPROMISED:
            since = placement.compromised_at
        case KeyState.RETIRED:
            since = placement.retired_at
        case KeyState.RETIRING:
            since = placement.retiring_at
        case KeyState.ACTIVE:
            since = placement.activated_at
        case KeyState.PREPARED:
            since = placement.imported_at
    return since or placement.imported_at


def _step(entry: JournalEntry) -> StepView:
    return StepView(
        step=entry.kind,
        region=entry.region or None,
        reason=entry.reason,
        started_at=rfc3339_of(entry.started_at),
        finished_at=_timestamp_or_none(entry.finished_at),
        outcome=entry.outcome,
    )


def _timestamp_or_none(at: datetime | None) -> str | None:
    return None if at is None else rfc3339_of(at)
