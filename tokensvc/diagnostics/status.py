"""The status of the deployment, for people and dashboards.

Invariants
- It is made from the store alone, never from IVS: what IVS holds is what the rotation leader last saw there.
- Out of sync is a worker whose keys are older than the store's. One that is silent may be cut off from the store, and
  then signs for the rest of its lease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import Field

from tokensvc.aws.arn import AccountRegion
from tokensvc.background.heartbeat import UNRESPONSIVE_AFTER_SECONDS
from tokensvc.deployment.leases import HeldLease
from tokensvc.deployment.record import Deployment
from tokensvc.deployment.versions import StoreVersions
from tokensvc.deployment.workers import RegionStatus, Worker
from tokensvc.diagnostics.problems import problem_sentence
from tokensvc.json_models import Timestamp, ViewModel
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, active_placement
from tokensvc.keys.rotation_policy import KEY_PAIRS_MAX
from tokensvc.revocations.queue import Backlog
from tokensvc.timestamps import rfc3339, rfc3339_of


class LeaderView(ViewModel):
    """A worker that does what only one may do at a time."""

    worker_id: str
    lease_seconds_left: float


class WorkerView(ViewModel):
    """A process that works on the store, as its last heartbeat said."""

    worker_id: str
    host: str
    pid: int
    started_at: Timestamp
    last_heartbeat_at: Timestamp
    unresponsive: bool = Field(
        description="It has not been heard for six heartbeats: killed, or cut off from the store"
    )
    is_leader: bool
    lease_seconds: float = Field(description="How long it signs without the store; 0: it never signs")
    keys_version: int
    in_sync: bool = Field(description="Whether it knows the keys as they are now")
    undecryptable_keys: list[str] = Field(description="Keys that should sign and that it cannot open")
    signer: str | None = Field(description="The library that signs its tokens; null: it signs none")
    fallback_reason: str | None = Field(description="Why no faster signer does; null: there is none")
    problems: list[str]


class RegionKeyView(ViewModel):
    """One of our keys in a region."""

    id: str
    state: str
    arn: str


class SlotsView(ViewModel):
    """What fills a region."""

    ours: int
    foreign: int | None = Field(description="Key pairs that others hold there; null: nobody has looked lately")
    limit: int


class RegionView(ViewModel):
    """The keys of one region."""

    region: str
    active_key: str | None
    active_seconds: int | None = Field(description="How long it has been signing")
    keys: list[RegionKeyView]
    slots: SlotsView
    next_action: str | None = Field(description="What comes next there, or what it waits for")
    next_action_at: Timestamp | None
    observed_at: Timestamp | None = Field(description="When whoever performs last looked at IVS there")


class DispatchView(ViewModel):
    """What waits to be told to IVS in one account and region, and who tells it. Where nothing waits and nobody leads
    there is no entry."""

    account: str
    region: str
    queued: int = Field(description="Viewers of channels whose revocation IVS has yet to be told")
    oldest_seconds: int = Field(description="How long the oldest of them waits")
    leader: LeaderView | None = Field(description="Who tells IVS of revocations there; null: nobody at the moment")


class StatusView(ViewModel):
    """How the deployment does."""

    deployment_id: str
    control_plane: str | None
    account: str | None
    keys_version: int
    problems: list[str] = Field(description="What the background duties have to say, in words")
    leader: LeaderView | None = Field(description="Who performs rotations")
    workers: list[WorkerView]
    stale_workers: list[str] = Field(description="Workers that do not know the keys as they are now")
    revocations: list[DispatchView]
    regions: list[RegionView]


class StatusData(NamedTuple):
    """What the store says at one moment."""

    versions: StoreVersions
    deployment: Deployment
    keys: Sequence[KeyRecord]
    workers: Sequence[Worker]
    leader: HeldLease | None
    waiting: Mapping[AccountRegion, Backlog]
    """Viewers whose revocation has not reached IVS yet."""
    dispatchers: Mapping[AccountRegion, HeldLease]
    """Which worker sends revocations to IVS there."""


def status_view(facts: StatusData) -> StatusView:
    """The facts as they are presented."""
    now, leader = facts.versions.now, facts.leader
    present = [w for w in facts.workers if not _is_unresponsive(w, now)]
    imported = [there for record in facts.keys for there in record.placements if there.is_imported]
    news = {reported.region: reported for worker in present for reported in worker.heartbeat.regions}
    return StatusView(
        deployment_id=facts.deployment.id,
        control_plane=facts.deployment.control_plane,
        account=facts.deployment.account,
        keys_version=facts.versions.keys.number,
        problems=[problem_sentence(one) for one in dict.fromkeys(one for w in present for one in w.heartbeat.problems)],
        leader=_leader(leader),
        workers=[_worker(w, facts.versions, leader) for w in facts.workers],
        stale_workers=[w.heartbeat.worker_id for w in facts.workers if not _is_in_sync(w, facts.versions)],
        revocations=[
            _dispatch(place, facts.waiting.get(place), facts.dispatchers.get(place))
            for place in sorted(facts.waiting.keys() | facts.dispatchers.keys())
        ],
        regions=[
            _region(
                region, [there for there in imported if there.account_region.region == region], news.get(region), now
            )
            for region in sorted({there.account_region.region for there in imported} | news.keys())
        ],
    )


def _leader(leader: HeldLease | None) -> LeaderView | None:
    if leader is None:
        return None
    return LeaderView(worker_id=leader.holder, lease_seconds_left=round(leader.seconds_left, 1))


def _dispatch(account_region: AccountRegion, waiting: Backlog | None, leader: HeldLease | None) -> DispatchView:
    queued, oldest_seconds, _ = waiting or Backlog(0, 0.0)
    return DispatchView(
        account=account_region.account,
        region=account_region.region,
        queued=queued,
        oldest_seconds=int(oldest_seconds),
        leader=_leader(leader),
    )


def _worker(worker: Worker, versions: StoreVersions, leader: HeldLease | None) -> WorkerView:
    reported = worker.heartbeat
    return WorkerView(
        worker_id=reported.worker_id,
        host=reported.host,
        pid=reported.pid,
        started_at=rfc3339_of(worker.started_at),
        last_heartbeat_at=rfc3339_of(worker.last_heartbeat_at),
        unresponsive=_is_unresponsive(worker, versions.now),
        is_leader=leader is not None and leader.holder == reported.worker_id,
        lease_seconds=reported.lease_seconds,
        keys_version=reported.keys_version,
        in_sync=_is_in_sync(worker, versions),
        undecryptable_keys=list(reported.undecryptable),
        signer=reported.signer or None,
        fallback_reason=reported.fallback_reason or None,
        problems=[problem_sentence(problem) for problem in reported.problems],
    )


def _region(region: str, imported: Sequence[KeyPlacement], news: RegionStatus | None, now: float) -> RegionView:
    active = active_placement(imported)
    since = active.activated_at if active is not None else None
    return RegionView(
        region=region,
        active_key=active and active.key_id,
        active_seconds=None if since is None else max(0, int(now - since.timestamp())),
        keys=[RegionKeyView(id=there.key_id, state=there.state.value, arn=there.arn) for there in imported],
        slots=SlotsView(ours=len(imported), foreign=news and news.foreign, limit=KEY_PAIRS_MAX),
        next_action=news.next_action or None if news is not None else None,
        next_action_at=_timestamp_or_none(news.next_action_at) if news is not None else None,
        observed_at=_timestamp_or_none(news.observed_at) if news is not None else None,
    )


def _is_unresponsive(worker: Worker, now: float) -> bool:
    return (datetime.fromtimestamp(now, UTC) - worker.last_heartbeat_at).total_seconds() > UNRESPONSIVE_AFTER_SECONDS


def _is_in_sync(worker: Worker, versions: StoreVersions) -> bool:
    return worker.heartbeat.has_keys_version(versions.keys)


def _timestamp_or_none(at: float | None) -> str | None:
    return rfc3339(int(at)) if at is not None else None
