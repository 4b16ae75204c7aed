"""Assembly of a process's background tasks: beside `serve`'s routes, and in `worker`, which does nothing else.

Invariants
- Every process has a heartbeat. It is notified of changes by whoever reads the store's versions anyway: the refresh of
  the snapshot, or a loop that only polls the versions.
- A process that rotates keys also dispatches revocations to IVS, and prunes what is old.
- Each thing is given what it needs when it is made: first the versions that heartbeats report, then the tasks, then
  their loops, and last the notifier, which calls tasks and loops. Nothing is started here (`runner.Lifecycle`).
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
from tokensvc.container.reconciler import ReconcilerConfig
from tokensvc.deployment.workers import Heartbeat, RegionStatus
from tokensvc.errors import Action, Remedy
from tokensvc.jose.signing.choice import Chosen
from tokensvc.keys.leader import INTERVAL_SECONDS as ROTATION_INTERVAL_SECONDS
from tokensvc.keys.leader import RotationLeader
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.problems import Problem, ProblemCode
from tokensvc.revocations.dispatcher import DispatchContext, ServedRegions
from tokensvc.revocations.leader import LEASE_SECONDS as DISPATCH_LEASE_SECONDS
from tokensvc.revocations.leader import RevocationLeader
from tokensvc.revocations.scheduler import INTERVAL_SECONDS as DISPATCH_INTERVAL_SECONDS
from tokensvc.revocations.scheduler import RevocationScheduler
from tokensvc.runner import BackgroundTask, RunFunction
from tokensvc.storage.store import Store

BACKOFF_MAX_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class BackgroundTasks:
    """The background tasks of one process, apart from its own snapshot's."""

    notifier: ChangeNotifier
    """To be given the store's versions whenever they were read."""
    heartbeats: Heartbeats
    tasks: tuple[BackgroundTask, ...]
    """What runs the tasks, in the order in which they are to be started."""
    on_accepted: Callable[[], None]
    """To be called when a revocation was accepted, so that it is dispatched at once. Returns at once."""


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """Who this process is among those that work on one store, and what it reports of itself."""

    worker_id: str
    lease_seconds: float
    """How long it signs without the store; 0 for one that never signs."""
    store_timeout_seconds: float
    undecryptable: Callable[[], frozenset[str]]
    """The keys that it cannot open."""
    signer_choice: Chosen | None = None
    """What signs here; None in a process that signs nothing."""

    def signer_problems(self) -> tuple[Problem, ...]:
        """What is wrong with the signer, as all workers show it."""
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
    """How much of IVS's documented rates is ours."""
    regions: ServedRegions
    lease_seconds: float = DISPATCH_LEASE_SECONDS


@dataclass(frozen=True, kw_only=True)
class BackgroundConfig:
    """What the tasks need that not every process runs: rotation, dispatch and pruning."""

    reconciler: ReconcilerConfig
    dispatch: DispatchConfig


def make_background_tasks(
    *,
    store: Store,
    identity: WorkerIdentity,
    config: BackgroundConfig | None,
    clock: Clock,
    metrics: Metrics,
    failure_log: FailureLog | None = None,
) -> BackgroundTasks:
    """The background tasks of a process; without `background` other processes rotate, dispatch and prune.
    `failure_log` is the one that the process's other loops have."""
    known, log = KnownVersions(), failure_log or FailureLog(clock.monotonic)
    loop = partial(_make_loop, metrics=metrics, failure_log=log)
    if config is None:
        heartbeats = Heartbeats(store.workers, lambda: _heartbeat(identity, known))
        beating = loop(
            "heartbeat",
            partial(_beat, store, heartbeats, metrics),
            every_seconds=BEAT_INTERVAL_SECONDS,
            on_stop=heartbeats.deregister,
        )
        notifier = ChangeNotifier(known, on_keys_or_limits=[beating.wake], on_replacement=[heartbeats.register_again])
        return BackgroundTasks(notifier=notifier, heartbeats=heartbeats, tasks=(beating,), on_accepted=_nothing)
    reconciler = config.reconciler
    rotation = RotationLeader(
        make_context=reconciler.make_context,
        regions=reconciler.regions,
        clock=clock,
        metrics=metrics,
        lease_seconds=reconciler.lease_seconds,
    )
    dispatch = _make_revocation_scheduler(
        store=store, identity=identity, config=config.dispatch, clock=clock, metrics=metrics, failure_log=log
    )
    prune = Prune(
        journal=store.journal,
        rotations=store.rotations,
        workers=store.workers,
        revocations=store.revocations,
        denials=store.denials,
        channels=store.channels,
        versions=store.versions,
        clock=clock,
    )

    def report() -> Heartbeat:
        return _heartbeat(
            identity, known, problems=(*rotation.problems, *dispatch.problems), regions=rotation.region_statuses
        )

    heartbeats = Heartbeats(store.workers, report)
    beating = loop(
        "heartbeat",
        partial(_beat, store, heartbeats, metrics),
        every_seconds=BEAT_INTERVAL_SECONDS,
        on_stop=heartbeats.deregister,
    )
    rotating = loop("rotation", rotation.run_once, every_seconds=ROTATION_INTERVAL_SECONDS, on_stop=rotation.stop)
    pruning = loop("prune", prune.run_once, every_seconds=PRUNE_INTERVAL_SECONDS)
    dispatching = loop("dispatch", dispatch.run_once, every_seconds=DISPATCH_INTERVAL_SECONDS, on_stop=dispatch.stop)
    notifier = ChangeNotifier(
        known,
        on_keys_or_limits=[beating.wake, rotation.wake, rotating.wake],
        on_denials=[dispatch.wake],
        on_replacement=[heartbeats.register_again, dispatch.reacquire_leases],
    )
    loops = (beating, rotating, pruning, dispatching)
    return BackgroundTasks(notifier=notifier, heartbeats=heartbeats, tasks=loops, on_accepted=dispatch.wake)


def _heartbeat(
    identity: WorkerIdentity,
    known: KnownVersions,
    *,
    problems: Sequence[Problem] = (),
    regions: Sequence[RegionStatus] = (),
) -> Heartbeat:
    """What this process reports of itself now; `trouble` and `regions` are those of its tasks."""
    versions, chosen = known.current, identity.signer_choice
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
        signer=chosen.signer.name if chosen is not None else "",
        fallback_reason=chosen.fallback_reason if chosen is not None else "",
    )


def _beat(store: Store, heartbeats: Heartbeats, metrics: Metrics) -> None:
    heartbeats.run_once()
    metrics.workers(*heartbeats.count(store.versions.read().keys))


def _make_revocation_scheduler(
    *,
    store: Store,
    identity: WorkerIdentity,
    config: DispatchConfig,
    clock: Clock,
    metrics: Metrics,
    failure_log: FailureLog,
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
            holder=f"{identity.worker_id}:{next(numbers)}",  # one that ends never gives up its successor's lease
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
    )


def _nothing() -> None:
    """Others are told by the store."""


def _make_loop(
    name: str,
    run_once: RunFunction,
    *,
    every_seconds: float,
    metrics: Metrics,
    failure_log: FailureLog,
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
    )
