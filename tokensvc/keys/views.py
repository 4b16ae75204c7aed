"""Views of keys, rotations and compromises, as HTTP responses and the CLI show them.

Invariants
- No view contains a private key, nor anything derived from one.
- Ages and deadlines are computed from a time on the store's clock that is passed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import Field

from tokensvc.deployment.record import RotationPolicy
from tokensvc.json_models import Timestamp, ViewModel
from tokensvc.keys.commands import CompromiseImpact
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, StepKind, drains_at
from tokensvc.keys.stale_workers import StaleWorker
from tokensvc.keys.store import JournalEntry, RotationRequest
from tokensvc.timestamps import rfc3339_of


class KeyPlacementView(ViewModel):
    """A key in one account and region."""

    account: str = Field(description="The AWS account")
    region: str = Field(description="The AWS region")
    state: KeyState = Field(
        description="`prepared`: imported, does not sign yet; `active`: signs; `retiring`: no longer signs, its tokens "
        "may be valid; `retired`: deleted from IVS; `compromised`: never signs again"
    )
    since: Timestamp = Field(description="When it entered this state")
    age_seconds: int = Field(description="Seconds since then")
    arn: str = Field(description="ARN of the playback key pair in IVS")
    imported_at: Timestamp = Field(description="When it was imported into IVS")
    activated_at: Timestamp | None = Field(description="When it started to sign")
    retiring_at: Timestamp | None = Field(
        description="When its drain started; for a prepared key, when it was found that it may have signed in a period "
        "that a restored store has lost"
    )
    drains_at: Timestamp | None = Field(
        description="For a retiring key: when its last token expires and its pair is deleted"
    )
    retired_at: Timestamp | None = Field(description="When IVS stopped holding the pair")
    compromised_at: Timestamp | None = Field(description="When it was marked as compromised there")
    longest_ttl_seconds: int = Field(description="Longest lifetime of a token that it may have signed there")
    fingerprint_differs: bool = Field(
        description="IVS reports a different fingerprint than ours; an operator must check it"
    )


class KeyView(ViewModel):
    """One of our key pairs. Without placements it was generated but is not known to be in IVS."""

    id: str = Field(description="The key's id")
    fingerprint: str = Field(description="The fingerprint of its public key, as IVS shows it")
    created_at: Timestamp = Field(description="When it was generated or imported")
    compromised_at: Timestamp | None = Field(description="When it was marked as compromised")
    damage: str | None = Field(description="Why its record in the store, or that of a placement, cannot be read")
    placements: list[KeyPlacementView] = Field(description="The key in each account and region")


class KeyPage(ViewModel):
    """Key pairs, oldest first."""

    keys: list[KeyView] = Field(description="The key pairs, oldest first")
    next_token: str | None = Field(
        None, description="Pass it as `nextToken` to get the next page; `null` on the last page"
    )


class StepView(ViewModel):
    """One lifecycle step of a key, from the journal."""

    step: StepKind = Field(description="What was done")
    region: str | None = Field(description="Where; `null` for a step that concerns no region")
    reason: str = Field(description="Why, or who requested it")
    started_at: Timestamp = Field(description="When the step started")
    finished_at: Timestamp | None = Field(description="When it ended; `null` while that is unknown")
    outcome: str | None = Field(description="`done`, or an error code; `null` while it is unknown")


class StaleWorkerView(ViewModel):
    """A worker that may not have loaded the newest keys yet."""

    worker_id: str = Field(description="The worker's id")
    host: str = Field(description="The machine that it runs on")
    pid: int = Field(description="Its process id there")
    last_heartbeat_at: Timestamp = Field(description="Time of its last heartbeat")
    until: Timestamp = Field(description="When it is in sync at the latest, or signs nothing")


class KeyDetailView(KeyView):
    """A key pair, its history, and the workers that are not in sync or cannot use it."""

    history: list[StepView] = Field(description="The last 50 changes to the key, newest first")
    stale_workers: list[StaleWorkerView] = Field(description="Workers that may not have loaded the newest keys yet")
    workers_unable_to_decrypt: list[str] = Field(description="Workers that cannot decrypt its private key")


class RegionRotationView(ViewModel):
    """Progress of a rotation in one region."""

    region: str = Field(description="The AWS region")
    previous_key_id: str | None = Field(description="The key that was active at the time of the request")
    active_key_id: str | None = Field(description="The key that has taken over; `null` until one has")


class RotationView(ViewModel):
    """A rotation request."""

    id: str = Field(description="The rotation request's id")
    requested_at: Timestamp = Field(description="When it was stored")
    requested_by: str = Field(description="The caller, or the command line")
    done: bool = Field(description="Whether another key has taken over in every region")
    regions: list[RegionRotationView] = Field(description="The progress in each region")


class CompromiseImpactView(ViewModel):
    """What a compromise causes in one region where IVS holds the key."""

    region: str = Field(description="The AWS region")
    was_active: bool = Field(description="Whether the key was active there")
    successor: str | None = Field(description="The key that takes over immediately; `null`: none can, or none needs to")
    outage_seconds: float = Field(description="Seconds during which no token can be signed there")
    affected_token_seconds: int = Field(description="Lifetime in seconds of the longest token that becomes invalid")


class CompromiseView(ViewModel):
    """A compromised key: it no longer signs, and the deletion of its pairs is retried until it succeeds."""

    id: str = Field(description="The key's id")
    compromised_at: Timestamp = Field(description="When it was first marked as compromised")
    regions: list[CompromiseImpactView] = Field(description="The consequences in each region where IVS holds the key")
    stale_workers: list[StaleWorkerView] = Field(description="Workers that may still sign with the key")


class ReferenceTime(NamedTuple):
    """The basis of ages and deadlines: a time on the store's clock, and the rotation policy."""

    now: datetime
    policy: RotationPolicy


def key_view(record: KeyRecord, at: ReferenceTime) -> KeyView:
    """A key as shown in lists."""
    return KeyView(
        id=record.id,
        fingerprint=record.fingerprint,
        created_at=rfc3339_of(record.created_at),
        compromised_at=_timestamp_or_none(record.compromised_at),
        damage=record.damage or None,
        placements=[_placement_view(placement, at) for placement in record.placements],
    )


def key_detail_view(
    record: KeyRecord,
    at: ReferenceTime,
    history: Sequence[JournalEntry],
    stale_workers: Sequence[StaleWorker],
    workers_unable_to_decrypt: Sequence[str],
) -> KeyDetailView:
    """A key with its history, and the workers that are not in sync or cannot use it."""
    return KeyDetailView(
        **dict(key_view(record, at)),
        history=[_step_view(entry) for entry in history],
        stale_workers=[stale_worker_view(worker) for worker in stale_workers],
        workers_unable_to_decrypt=list(workers_unable_to_decrypt),
    )


def rotation_view(request: RotationRequest, active_key_ids: Mapping[str, str | None]) -> RotationView:
    """A rotation request, with the key that has taken over in each region (`commands.replacement_keys`)."""
    return RotationView(
        id=request.id,
        requested_at=rfc3339_of(request.requested_at),
        requested_by=request.requested_by,
        done=all(active_key_ids.values()),
        regions=[
            RegionRotationView(region=region, previous_key_id=previous, active_key_id=active_key_ids[region])
            for region, previous in request.previous_key_ids.items()
        ],
    )


def compromise_impact_view(record: KeyRecord, impact: CompromiseImpact) -> CompromiseImpactView:
    """What a compromise of this key causes in a region."""
    longest = max(p.longest_ttl_seconds for p in record.placements if p.account_region.region == impact.region)
    return CompromiseImpactView(
        region=impact.region,
        was_active=impact.was_active,
        successor=impact.successor,
        outage_seconds=impact.outage_seconds,
        affected_token_seconds=longest,
    )


def stale_worker_view(stale: StaleWorker) -> StaleWorkerView:
    """A worker that may not have loaded the newest keys yet."""
    heartbeat = stale.worker.heartbeat
    return StaleWorkerView(
        worker_id=heartbeat.worker_id,
        host=heartbeat.host,
        pid=heartbeat.pid,
        last_heartbeat_at=rfc3339_of(stale.worker.last_heartbeat_at),
        until=rfc3339_of(stale.until),
    )


def _placement_view(placement: KeyPlacement, at: ReferenceTime) -> KeyPlacementView:
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
    """When a key entered its current state."""
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


def _step_view(entry: JournalEntry) -> StepView:
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
