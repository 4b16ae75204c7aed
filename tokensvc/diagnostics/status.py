"""The status of the deployment, for people and dashboards.

Invariants
- It is read from the store alone, never from IVS: it reports what the rotation leader last observed in IVS.
- A worker is stale if its keys are older than the store's. An unresponsive worker may have lost its connection to the
  store, in which case it signs for the rest of its lease.
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
from tokensvc.keys.rotation_policy import MAX_KEY_PAIRS
from tokensvc.revocations.queue import Backlog
from tokensvc.timestamps import rfc3339, rfc3339_of


class LeaderView(ViewModel):
    """The worker that holds a lease."""

    worker_id: str = Field(description="The worker's id")
    lease_seconds_left: float = Field(description="When its lease ends unless it renews it")


class WorkerView(ViewModel):
    """A process of the deployment, as of its last heartbeat."""

    worker_id: str = Field(description="The worker's id")
    host: str = Field(description="The machine that it runs on")
    pid: int = Field(description="Its process id there")
    started_at: Timestamp = Field(description="When it started")
    last_heartbeat_at: Timestamp = Field(
        description="When it last reported to the store, which it does every 5 seconds"
    )
    unresponsive: bool = Field(
        description="Whether six heartbeats are missing: the worker was killed, or cannot reach the store"
    )
    is_leader: bool = Field(description="Whether it is the rotation leader")
    lease_seconds: float = Field(description="How long it signs without reaching the store; 0: it never signs")
    keys_version: int = Field(description="The version of the keys that it has loaded")
    in_sync: bool = Field(description="Whether it has loaded the current keys")
    undecryptable_keys: list[str] = Field(description="Keys that should sign but whose private keys it cannot decrypt")
    signer: str | None = Field(description="The library that signs its tokens; `null`: it never signs")
    fallback_reason: str | None = Field(description="Why it does not use a faster signer; `null`: there is none")
    problems: list[str] = Field(description="Problems of its background tasks, as text")


class RegionKeyView(ViewModel):
    """One of our keys in a region."""

    id: str = Field(description="The key's id")
    state: str = Field(description="Its state there, as in `GET /v1/keys`")
    arn: str = Field(description="ARN of the playback key pair in IVS")


class SlotsView(ViewModel):
    """The use of a region's key pair quota."""

    ours: int = Field(description="Key pairs of this deployment")
    foreign: int | None = Field(description="Key pairs of other applications; `null`: not observed recently")
    limit: int = Field(description="How many IVS allows")


class RegionView(ViewModel):
    """The keys of one region."""

    region: str = Field(description="The AWS region")
    active_key_id: str | None = Field(description="The key that signs there")
    active_seconds: int | None = Field(description="How long it has been active")
    keys: list[RegionKeyView] = Field(description="The deployment's keys that IVS holds there")
    slots: SlotsView = Field(description="The use of the region's key pair quota")
    next_action: str | None = Field(description="The next lifecycle step in the region, or what blocks it")
    next_action_at: Timestamp | None = Field(description="When that step is due; `null`: not known")
    observed_at: Timestamp | None = Field(description="When the rotation leader last inspected IVS there")


class DispatchView(ViewModel):
    """The revocation queue of one account and region, and the worker that dispatches it. There is an entry wherever
    something is queued or a worker is the leader."""

    account: str = Field(description="The AWS account")
    region: str = Field(description="The AWS region")
    queued: int = Field(description="Viewers of channels whose revocation is not yet delivered to IVS")
    oldest_age_seconds: int = Field(description="How long the oldest of them has been queued")
    leader: LeaderView | None = Field(
        description="The worker that dispatches revocations there; `null`: none at the moment"
    )


class StatusView(ViewModel):
    """The status of the deployment."""

    deployment_id: str = Field(description="The deployment's id, which each of its key pairs in IVS has as a tag")
    control_plane: str | None = Field(
        description="The control plane that its keys belong to: `aws` or `local`; `null` until it has a key"
    )
    account: str | None = Field(description="The AWS account of its keys; `null` until it has a key")
    keys_version: int = Field(description="The version of the keys, which rises with every change")
    problems: list[str] = Field(description="Problems of the background tasks, as text")
    leader: LeaderView | None = Field(description="The rotation leader; `null`: none at the moment")
    workers: list[WorkerView] = Field(description="The deployment's processes, as of their last heartbeats")
    stale_workers: list[str] = Field(description="Workers that have not loaded the current keys")
    revocations: list[DispatchView] = Field(
        description="The revocation queue of each account and region where something is queued or a worker dispatches"
    )
    regions: list[RegionView] = Field(description="The keys of each region")


class StatusData(NamedTuple):
    """The store's data for one status."""

    versions: StoreVersions
    deployment: Deployment
    keys: Sequence[KeyRecord]
    workers: Sequence[Worker]
    leader: HeldLease | None
    backlogs: Mapping[AccountRegion, Backlog]
    """Viewers whose revocation is not yet delivered to IVS."""
    dispatch_leaders: Mapping[AccountRegion, HeldLease]
    """The worker that dispatches revocations there."""


def status_view(data: StatusData) -> StatusView:
    """The status view of the data."""
    now, leader = data.versions.now, data.leader
    responsive = [w for w in data.workers if not _is_unresponsive(w, now)]
    imported = [placement for record in data.keys for placement in record.placements if placement.is_imported]
    region_statuses = {reported.region: reported for worker in responsive for reported in worker.heartbeat.regions}
    problems = dict.fromkeys(problem for w in responsive for problem in w.heartbeat.problems)
    return StatusView(
        deployment_id=data.deployment.id,
        control_plane=data.deployment.control_plane,
        account=data.deployment.account,
        keys_version=data.versions.keys.number,
        problems=[problem_sentence(problem) for problem in problems],
        leader=_leader_view(leader),
        workers=[_worker_view(w, data.versions, leader) for w in data.workers],
        stale_workers=[w.heartbeat.worker_id for w in data.workers if not _is_in_sync(w, data.versions)],
        revocations=[
            _dispatch_view(found, data.backlogs.get(found), data.dispatch_leaders.get(found))
            for found in sorted(data.backlogs.keys() | data.dispatch_leaders.keys())
        ],
        regions=[
            _region_view(
                region, [p for p in imported if p.account_region.region == region], region_statuses.get(region), now
            )
            for region in sorted({p.account_region.region for p in imported} | region_statuses.keys())
        ],
    )


def _leader_view(leader: HeldLease | None) -> LeaderView | None:
    if leader is None:
        return None
    return LeaderView(worker_id=leader.holder, lease_seconds_left=round(leader.seconds_left, 1))


def _dispatch_view(account_region: AccountRegion, backlog: Backlog | None, leader: HeldLease | None) -> DispatchView:
    queued, oldest_age_seconds, _ = backlog or Backlog(0, 0.0)
    return DispatchView(
        account=account_region.account,
        region=account_region.region,
        queued=queued,
        oldest_age_seconds=int(oldest_age_seconds),
        leader=_leader_view(leader),
    )


def _worker_view(worker: Worker, versions: StoreVersions, leader: HeldLease | None) -> WorkerView:
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


def _region_view(region: str, imported: Sequence[KeyPlacement], status: RegionStatus | None, now: float) -> RegionView:
    active = active_placement(imported)
    since = active.activated_at if active is not None else None
    return RegionView(
        region=region,
        active_key_id=active and active.key_id,
        active_seconds=None if since is None else max(0, int(now - since.timestamp())),
        keys=[RegionKeyView(id=p.key_id, state=p.state.value, arn=p.arn) for p in imported],
        slots=SlotsView(ours=len(imported), foreign=status and status.foreign, limit=MAX_KEY_PAIRS),
        next_action=status.next_action or None if status is not None else None,
        next_action_at=_timestamp_or_none(status.next_action_at) if status is not None else None,
        observed_at=_timestamp_or_none(status.observed_at) if status is not None else None,
    )


def _is_unresponsive(worker: Worker, now: float) -> bool:
    return (datetime.fromtimestamp(now, UTC) - worker.last_heartbeat_at).total_seconds() > UNRESPONSIVE_AFTER_SECONDS


def _is_in_sync(worker: Worker, versions: StoreVersions) -> bool:
    return worker.heartbeat.has_keys_version(versions.keys)


def _timestamp_or_none(at: float | None) -> str | None:
    return rfc3339(int(at)) if at is not None else None
