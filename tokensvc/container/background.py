"""Assembles the background tasks of a `serve` or `worker` process.

Invariants
- Every process has a heartbeat. Changes are noticed where the store's versions are read: in the refresh of the
  snapshot, or in a task that only polls the versions.
- A process that rotates keys also dispatches revocations to IVS and prunes old rows.
- Every object gets its dependencies when it is created: first the versions that heartbeats report, then the leaders,
  then the tasks that run them, and last the notifier, which wakes tasks. Nothing is started here (`runner.Lifecycle`).
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tokensvc.aws.arn import AccountRegion
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.background.changes import ChangeNotifier, KnownVersions
from tokensvc.background.heartbeat import INTERVAL_SECONDS as BEAT_INTERVAL_SECONDS
from tokensvc.background.heartbeat import Heartbeats
from tokensvc.background.prune import INTERVAL_SECONDS as PRUNE_INTERVAL_SECONDS
from tokensvc.background.prune import Prune
from tokensvc.clock import Clock
from tokensvc.container.keys_context import ReconcilerConfig
from tokensvc.deployment.workers import Heartbeat, RegionStatus
from tokensvc.errors import Action, Remedy
from tokensvc.jose.signing.choice import SignerChoice
from tokensvc.keys.leader import INTERVAL_SECONDS as ROTATION_INTERVAL_SECONDS
from tokensvc.keys.leader import RotationLeader
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.problems import Problem, ProblemCode
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.dispatcher import DispatchContext
from tokensvc.revocations.leader import LEASE_SECONDS as DISPATCH_LEASE_SECONDS
from tokensvc.revocations.leader import RevocationLeader
from tokensvc.revocations.scheduler import INTERVAL_SECONDS as DISPATCH_INTERVAL_SECONDS
from tokensvc.revocations.scheduler import RevocationScheduler
from tokensvc.runner import BackgroundTask, ObserveTask, RunFunction, unobserved
from tokensvc.storage.store import Store

BACKOFF_MAX_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class BackgroundTasks:
    """The background tasks of one process, except the refresh of its snapshot."""

    notifier: ChangeNotifier
    """Pass it the store's versions each time they are read."""
    heartbeats: Heartbeats
    tasks: tuple[BackgroundTask, ...]
    """In the order in which they start."""
    on_accepted: Callable[[], None]
    """Call it when a revocation was accepted, so that it is dispatched immediately. Returns immediately."""


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """What a process reports about itself to the other processes of the deployment."""

    worker_id: str
    lease_seconds: float
    """How long it signs without reaching the store; 0 if it never signs."""
    store_timeout_seconds: float
    undecryptable: Callable[[], frozenset[str]]
    """The ids of keys whose private keys it cannot decrypt."""
    signer_choice: SignerChoice | None = None
    """None in a process that signs nothing."""

    def signer_problems(self) -> tuple[Problem, ...]:
        """The signer's problem, if it has one."""
        reason = self.signer_choice.signer.problem() if self.signer_choice is not None else ""
        if not reason:
            return ()
        parameters, remedy = {"worker_id": self.worker_id, "reason": reason}, Remedy(Action.REPLACE_SIGNER)
        return (Problem(ProblemCode.SIGNER_FAILED, parameters=parameters, remedy=remedy),)


@dataclass(frozen=True, kw_only=True)
class DispatchConfig:
    """How this process dispatches revocations to IVS."""

    control_plane: ControlPlane
    rate_fraction: float
    """The fraction of IVS's documented rates to use."""
    regions: ServedRegions
    lease_seconds: float = DISPATCH_LEASE_SECONDS


@dataclass(frozen=True, kw_only=True)
class BackgroundConfig:
    """Configuration of the tasks that not every process runs: rotation, dispatch and pruning."""

    reconciler: ReconcilerConfig
    dispatch: DispatchConfig
    audit_retention_days: int


def make_background_tasks(
    *,
    store: Store,
    identity: WorkerIdentity,
    config: BackgroundConfig | None,
    clock: Clock,
    metrics: Metrics,
    failure_log: FailureLog | None = None,
    observe_task: ObserveTask = unobserved,
) -> BackgroundTasks:
    """Create the background tasks of a process. Without `config`, other processes rotate, dispatch and prune.
    `failure_log` is shared with the process's other tasks."""
    known, log = KnownVersions(), failure_log or FailureLog(clock.monotonic)
    make_task = partial(_make_task, metrics=metrics, failure_log=log, observe_task=observe_task)

    def make_heartbeat_task(heartbeats: Heartbeats) -> BackgroundTask:
        run_once = partial(_run_heartbeat, store, heartbeats, metrics)
        return make_task("heartbeat", run_once, every_seconds=BEAT_INTERVAL_SECONDS, on_stop=heartbeats.deregister)

    if config is None:
        heartbeats = Heartbeats(store.workers, lambda: _heartbeat(identity, known))
        heartbeat_task = make_heartbeat_task(heartbeats)
        notifier = ChangeNotifier(
            known, on_keys_or_limits=[heartbeat_task.wake], on_replacement=[heartbeats.register_again]
        )
        return BackgroundTasks(
            notifier=notifier, heartbeats=heartbeats, tasks=(heartbeat_task,), on_accepted=_no_local_dispatch
        )
    reconciler = config.reconciler
    rotation = RotationLeader(
        make_context=reconciler.make_context,
        regions=reconciler.regions,
        clock=clock,
        metrics=metrics,
        lease_seconds=reconciler.lease_seconds,
    )
    scheduler = _make_revocation_scheduler(
        store=store,
        identity=identity,
        config=config.dispatch,
        clock=clock,
        metrics=metrics,
        failure_log=log,
        observe_task=observe_task,
    )
    prune = Prune(
        journal=store.journal,
        rotation_requests=store.rotation_requests,
        workers=store.workers,
        revocations=store.revocations,
        denials=store.denials,
        channels=store.channels,
        single_uses=store.single_uses,
        audit=store.audit,
        audit_retention_days=config.audit_retention_days,
        versions=store.versions,
        clock=clock,
    )

    def report() -> Heartbeat:
        return _heartbeat(
            identity, known, problems=(*rotation.problems, *scheduler.problems), regions=rotation.region_statuses
        )

    heartbeats = Heartbeats(store.workers, report)
    heartbeat_task = make_heartbeat_task(heartbeats)
    rotation_task = make_task(
        "rotation", rotation.run_once, every_seconds=ROTATION_INTERVAL_SECONDS, on_stop=rotation.stop
    )
    prune_task = make_task("prune", prune.run_once, every_seconds=PRUNE_INTERVAL_SECONDS)
    dispatch_task = make_task(
        "dispatch", scheduler.run_once, every_seconds=DISPATCH_INTERVAL_SECONDS, on_stop=scheduler.stop
    )
    notifier = ChangeNotifier(
        known,
        on_keys_or_limits=[heartbeat_task.wake, rotation.wake, rotation_task.wake],
        on_denials=[scheduler.wake],
        on_replacement=[heartbeats.register_again, scheduler.reacquire_leases],
    )
    tasks = (heartbeat_task, rotation_task, prune_task, dispatch_task)
    return BackgroundTasks(notifier=notifier, heartbeats=heartbeats, tasks=tasks, on_accepted=scheduler.wake)


def _heartbeat(
    identity: WorkerIdentity,
    known: KnownVersions,
    *,
    problems: Sequence[Problem] = (),
    regions: Sequence[RegionStatus] = (),
) -> Heartbeat:
    """The process's heartbeat now; `problems` and `regions` come from its tasks."""
    versions, signer_choice = known.current, identity.signer_choice
    return Heartbeat(
        worker_id=identity.worker_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        lease_seconds=identity.lease_seconds,
        keys_version=versions.keys.number,
        deployment_version=versions.deployment.number,
        store_timeout_seconds=identity.store_timeout_seconds,
        undecryptable=tuple(sorted(identity.undecryptable())),
        problems=(*identity.signer_problems(), *problems),
        regions=tuple(regions),
        keys_tag=versions.keys.tag,
        deployment_tag=versions.deployment.tag,
        signer=signer_choice.signer.name if signer_choice is not None else "",
        fallback_reason=signer_choice.fallback_reason if signer_choice is not None else "",
    )


def _run_heartbeat(store: Store, heartbeats: Heartbeats, metrics: Metrics) -> None:
    heartbeats.run_once()
    metrics.workers(*heartbeats.worker_counts(store.versions.read().keys))


def _make_revocation_scheduler(
    *,
    store: Store,
    identity: WorkerIdentity,
    config: DispatchConfig,
    clock: Clock,
    metrics: Metrics,
    failure_log: FailureLog,
    observe_task: ObserveTask,
) -> RevocationScheduler:
    context = DispatchContext(
        queue=store.revocation_queue, control_plane=config.control_plane, clock=clock, jitter=random.random
    )
    numbers = itertools.count(1)

    def make_leader(account_region: AccountRegion) -> RevocationLeader:
        return RevocationLeader(
            account_region=account_region,
            context=context,
            leases=store.leases,
            holder=f"{identity.worker_id}:{next(numbers)}",  # unique, so a leader never releases its successor's lease
            metrics=metrics,
            rate_fraction=config.rate_fraction,
            lease_seconds=config.lease_seconds,
        )

    return RevocationScheduler(
        queue=store.revocation_queue,
        make_leader=make_leader,
        regions=config.regions,
        clock=clock,
        metrics=metrics,
        failure_log=failure_log,
        observe_task=observe_task,
    )


def _no_local_dispatch() -> None:
    """The processes that dispatch notice the revocation by the store's versions."""


def _make_task(
    name: str,
    run_once: RunFunction,
    *,
    every_seconds: float,
    metrics: Metrics,
    failure_log: FailureLog,
    observe_task: ObserveTask,
    on_stop: Callable[[], None] = lambda: None,
) -> BackgroundTask:
    return BackgroundTask(
        name,
        run_once,
        every_seconds=every_seconds,
        backoff_max_seconds=max(BACKOFF_MAX_SECONDS, every_seconds),
        on_failure=metrics.task_failed,
        on_stop=on_stop,
        failure_log=failure_log,
        observe=observe_task,
    )
