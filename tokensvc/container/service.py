"""Assembles the Service from settings. The only place that chooses the implementation behind each protocol.

Invariants
- Each function builds one layer from the one before; there are no globals and no service locator.
- Every object gets its dependencies when it is created; nothing is set afterwards. Shared objects are created first:
  the snapshot holder, and the event that wakes the channel cache's task.
- Nothing runs before `Lifecycle.start`: the application starts and stops the tasks (`application.py`).
- Required settings are checked here, by name, before anything is opened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tokensvc.audit.viewers import ViewerDigests
from tokensvc.aws.ivs import AwsControlPlane
from tokensvc.background.audit_writer import INTERVAL_SECONDS as AUDIT_INTERVAL_SECONDS
from tokensvc.background.audit_writer import AuditWriter
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.background.last_used import INTERVAL_SECONDS as LAST_USES_INTERVAL_SECONDS
from tokensvc.background.last_used import LastUses
from tokensvc.background.refresh import INTERVAL_SECONDS as REFRESH_INTERVAL_SECONDS
from tokensvc.background.refresh import Refresh, SnapshotHolder
from tokensvc.clock import Clock, ConfirmedClock, SystemClock
from tokensvc.container.background import (
    BackgroundConfig,
    BackgroundTasks,
    DispatchConfig,
    WorkerIdentity,
    make_background_tasks,
)
from tokensvc.container.control_plane import configured_regions, known_regions
from tokensvc.container.deployment import open_deployment
from tokensvc.container.keys_context import (
    ROTATION_LEASE,
    ROTATION_LEASE_SECONDS,
    make_reconciler_config,
    new_worker_id,
)
from tokensvc.container.logs import process_log
from tokensvc.container.observers import Observers, check_tracing, start_observers
from tokensvc.container.revocations import make_revocation_service, make_served_regions
from tokensvc.container.sampled_metrics import SnapshotMetrics, report_build
from tokensvc.container.store import stream_audit
from tokensvc.container.vault import check_subject_key, open_vault
from tokensvc.diagnostics.status import StatusData
from tokensvc.jose.signing.choice import SignerChoice
from tokensvc.keys.context import KeysContext
from tokensvc.keys.rotation_policy import max_staleness_seconds
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.problems import Problem
from tokensvc.revocations.leader import LEASE_SECONDS as DISPATCH_LEASE_SECONDS
from tokensvc.revocations.leader import read_leaders
from tokensvc.revocations.service import RevocationService
from tokensvc.runner import BackgroundTask, Lifecycle
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import INTERVAL_SECONDS as CHANNELS_INTERVAL_SECONDS
from tokensvc.tokens.channel_cache import ChannelCache
from tokensvc.tokens.playback_session import RESTRICTION_RETENTION_SECONDS
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver
from tokensvc.vault.cipher import SecretCipher

METRICS_INTERVAL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Service:
    """Everything that the application of `serve` needs."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    observers: Observers
    store: Store
    snapshots: SnapshotHolder
    """Holds this worker's current snapshot."""
    refresh: Refresh
    channel_cache: ChannelCache
    audit_writer: AuditWriter
    last_uses: LastUses
    tasks: BackgroundTasks
    lifecycle: Lifecycle
    """All background tasks of the process, including `tasks`. The first is the refresh of the snapshot."""
    signer_choice: SignerChoice
    revocation_service: RevocationService
    make_context: Callable[[], KeysContext]
    """Creates a context for rotation requests, with the store's current time."""
    regions: tuple[str, ...]
    """The configured regions to hold keys in; empty if this process does not know them."""

    def snapshot(self) -> Snapshot:
        """The current snapshot."""
        return self.snapshots.current

    def refresh_soon(self) -> None:
        """Start a refresh of the snapshot now. Returns immediately."""
        self.lifecycle.first.wake()

    def status_data(self) -> StatusData:
        """Read the deployment's status from the store. Raises StoreError."""
        store = self.store
        workers = store.workers.list()  # before the versions: see `Heartbeat.has_keys_version`
        versions = store.versions.read()
        leader = store.leases.held(ROTATION_LEASE)
        backlogs, leaders = store.revocation_queue.backlogs(), read_leaders(store.leases)
        return StatusData(
            versions=versions,
            deployment=store.deployment.read(),
            keys=store.keys.list(),
            workers=workers,
            leader=leader,
            backlogs=backlogs,
            dispatch_leaders=leaders,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerService:
    """Everything that the application of `worker` needs."""

    clock: Clock
    metrics: Metrics
    observers: Observers
    store: Store
    lifecycle: Lifecycle
    """All background tasks of the process. The first reads the store's versions."""
    problems: Callable[[], Sequence[Problem]]
    """The problems of the background tasks of all workers."""


def check_startup(settings: Settings) -> None:
    """Check that a worker can start: once, in the parent, so that an error is reported once. Raises as `assemble`."""
    from tokensvc.jose.signing.choice import choose_signer

    choose_signer(settings.signer)
    check_tracing(settings)
    if settings.policy_hook_url is not None:
        require(settings, "policy_hook_secret")
    _, store, cipher = open_deployment(settings)
    try:
        if settings.background_tasks:
            configured_regions(settings)
        check_subject_key(store, cipher)
    finally:
        store.close()


def assemble(settings: Settings, *, checked: bool = False, number: int = 0, clock: Clock | None = None) -> Service:
    """Assemble the service of `serve`. `checked`: `check_startup` has just passed for this deployment. `number` is that
    of this worker among those of the machine. `clock` replaces the machine's in tests.

    Raises SettingsError, StoreError, WrongPassphrase or ForeignDeployment.
    """
    from tokensvc.container.prometheus import PrometheusMetrics
    from tokensvc.jose.signing.choice import choose_signer

    clock, metrics = clock or SystemClock(), PrometheusMetrics(process_log.writer.take_dropped, worker=number)
    signer_choice = choose_signer(settings.signer, metrics)
    metrics.signer_chosen(signer_choice.signer.name, signer_choice.fallback_reason)
    worker_id = new_worker_id()
    observers, control_plane, store, cipher = _open_observed(settings, metrics, worker_id, signer_choice.signer.name)
    if not checked:
        check_subject_key(store, cipher)
    vault = open_vault(settings, store, cipher)
    regions = configured_regions(settings) if settings.background_tasks else known_regions(settings)
    failure_log, snapshots, channels_wanted = FailureLog(clock.monotonic), SnapshotHolder(), threading.Event()
    confirmed_clock = ConfirmedClock(lambda: snapshots.current.store_offset_seconds)
    subjects = ViewerIdResolver(store.deployment, lambda: cipher)
    channel_cache = ChannelCache(
        store=store.channels,
        leases=store.leases,
        control_plane=control_plane,
        clock=confirmed_clock,
        lookup_timeout_seconds=settings.channel_lookup_timeout_seconds,
        calls_per_second=settings.channel_calls_per_second,
        wake=channels_wanted.set,
    )
    identity = WorkerIdentity(
        worker_id=worker_id,
        lease_seconds=settings.snapshot_lease_seconds,
        store_timeout_seconds=settings.store_timeout_seconds,
        undecryptable=lambda: snapshots.current.keyring.undecryptable,
        signer_choice=signer_choice,
    )
    reconciler = make_reconciler_config(
        settings=settings,
        store=store,
        vault=vault,
        control_plane=control_plane,
        worker_id=worker_id,
        regions=regions,
    )
    dispatch = DispatchConfig(
        control_plane=control_plane,
        rate_fraction=settings.revocation_rate_fraction,
        regions=make_served_regions(settings, store),
    )
    tasks = make_background_tasks(
        store=store,
        identity=identity,
        config=(
            BackgroundConfig(
                reconciler=reconciler, dispatch=dispatch, audit_retention_days=settings.audit_retention_days
            )
            if settings.background_tasks
            else None
        ),
        clock=clock,
        metrics=metrics,
        failure_log=failure_log,
        observe_task=observers.task,
    )
    refresh = Refresh(
        versions=store.versions,
        deployment=store.deployment,
        keys=store.keys,
        callers=store.callers,
        channels=store.channels,
        denials=DenylistSync(
            store.denials, retention_seconds=RESTRICTION_RETENTION_SECONDS if settings.authorize else 0.0
        ),
        vault=vault,
        subjects=subjects,
        signer=signer_choice.signer,
        clock=clock,
        max_staleness_seconds=max_staleness_seconds(settings.snapshot_lease_seconds, settings.store_timeout_seconds),
        snapshots=snapshots,
        on_replacement=tasks.notifier.notify_replaced,
    )
    snapshot_metrics = SnapshotMetrics(metrics, clock, regions)
    make_task = partial(BackgroundTask, on_failure=metrics.task_failed, failure_log=failure_log, observe=observers.task)
    refresh_task = make_task(
        "refresh",
        lambda: _refresh_and_notify(refresh=refresh, tasks=tasks, snapshot_metrics=snapshot_metrics),
        every_seconds=REFRESH_INTERVAL_SECONDS,
        backoff_max_seconds=REFRESH_INTERVAL_SECONDS,
    )
    channels_task = make_task(
        "channels",
        channel_cache.run_once,
        every_seconds=CHANNELS_INTERVAL_SECONDS,
        backoff_max_seconds=30,
        wake_event=channels_wanted,
    )
    audit_writer = AuditWriter(store.audit, clock, ViewerDigests(store.audit), metrics.audit_events_dropped)
    metrics.sample_with(lambda: metrics.audit_queue(*audit_writer.backlog()))
    audit_task = make_task(
        "audit",
        audit_writer.run_once,
        every_seconds=AUDIT_INTERVAL_SECONDS,
        backoff_max_seconds=AUDIT_INTERVAL_SECONDS,
        on_stop=audit_writer.stop,
    )
    metrics_task = make_task(
        "metrics",
        metrics.flush,
        every_seconds=METRICS_INTERVAL_SECONDS,
        backoff_max_seconds=METRICS_INTERVAL_SECONDS,
    )
    last_uses = LastUses(store.callers)
    last_uses_task = make_task(
        "last_uses",
        last_uses.run_once,
        every_seconds=LAST_USES_INTERVAL_SECONDS,
        backoff_max_seconds=LAST_USES_INTERVAL_SECONDS,
        on_stop=last_uses.stop,
    )
    return Service(
        settings=settings,
        clock=clock,
        metrics=metrics,
        observers=observers,
        store=store,
        snapshots=snapshots,
        refresh=refresh,
        channel_cache=channel_cache,
        audit_writer=audit_writer,
        last_uses=last_uses,
        tasks=tasks,
        lifecycle=Lifecycle(
            first=refresh_task, others=(channels_task, metrics_task, audit_task, last_uses_task, *tasks.tasks)
        ),
        signer_choice=signer_choice,
        revocation_service=make_revocation_service(
            settings=settings,
            store=store,
            subjects=subjects,
            clock=confirmed_clock,
            on_accepted=tasks.on_accepted,
        ),
        make_context=reconciler.make_context,
        regions=regions,
    )


def assemble_worker(
    settings: Settings,
    *,
    rotation_lease_seconds: float = ROTATION_LEASE_SECONDS,
    dispatch_lease_seconds: float = DISPATCH_LEASE_SECONDS,
) -> WorkerService:
    """Assemble the service of `worker`: background tasks without a snapshot. Raises as `assemble` does."""
    from tokensvc.container.prometheus import PrometheusMetrics

    clock, metrics, worker_id = SystemClock(), PrometheusMetrics(process_log.writer.take_dropped), new_worker_id()
    observers, control_plane, store, cipher = _open_observed(settings, metrics, worker_id)
    failure_log = FailureLog(clock.monotonic)
    reconciler = make_reconciler_config(
        settings=settings,
        store=store,
        vault=open_vault(settings, store, cipher),
        control_plane=control_plane,
        worker_id=worker_id,
        regions=configured_regions(settings),
        lease_seconds=rotation_lease_seconds,
    )
    dispatch = DispatchConfig(
        control_plane=control_plane,
        rate_fraction=settings.revocation_rate_fraction,
        regions=make_served_regions(settings, store),
        lease_seconds=dispatch_lease_seconds,
    )
    identity = WorkerIdentity(
        worker_id=worker_id,
        lease_seconds=0.0,
        store_timeout_seconds=settings.store_timeout_seconds,
        undecryptable=frozenset,
    )
    tasks = make_background_tasks(
        store=store,
        identity=identity,
        config=BackgroundConfig(
            reconciler=reconciler, dispatch=dispatch, audit_retention_days=settings.audit_retention_days
        ),
        clock=clock,
        metrics=metrics,
        failure_log=failure_log,
        observe_task=observers.task,
    )
    make_task = partial(BackgroundTask, on_failure=metrics.task_failed, failure_log=failure_log, observe=observers.task)
    versions_task = make_task(
        "versions",
        lambda: tasks.notifier.poll(store.versions),
        every_seconds=REFRESH_INTERVAL_SECONDS,
        backoff_max_seconds=REFRESH_INTERVAL_SECONDS,
    )
    metrics_task = make_task(
        "metrics",
        metrics.flush,
        every_seconds=METRICS_INTERVAL_SECONDS,
        backoff_max_seconds=METRICS_INTERVAL_SECONDS,
    )
    return WorkerService(
        clock=clock,
        metrics=metrics,
        observers=observers,
        store=store,
        lifecycle=Lifecycle(first=versions_task, others=(metrics_task, *tasks.tasks)),
        problems=tasks.heartbeats.problems,
    )


def _open_observed(
    settings: Settings, metrics: Metrics, worker_id: str, signer: str = ""
) -> tuple[Observers, AwsControlPlane, Store, SecretCipher]:
    """Open the deployment for a process that stays: observed, with its audit records streamed."""
    observers = start_observers(settings, metrics, worker_id)
    control_plane, store, cipher = open_deployment(settings, observers.ivs)
    store.load()
    report_build(metrics, signer)
    observers.store(store)
    stream_audit(settings, store, metrics)
    return observers, control_plane, store, cipher


def _refresh_and_notify(*, refresh: Refresh, tasks: BackgroundTasks, snapshot_metrics: SnapshotMetrics) -> None:
    """Refresh the snapshot, then notify the tasks of changes. Registers first: an unregistered worker must not sign."""
    tasks.heartbeats.ensure_registered()
    try:
        refresh.run_once()
    finally:
        snapshot_metrics.refreshed(refresh.current)
    tasks.notifier.update(refresh.loaded_versions)
