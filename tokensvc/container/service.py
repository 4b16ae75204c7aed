"""Assembles the Service from settings. The only place that chooses the implementation behind each protocol.

Invariants
- Each function builds one layer from the one before; there are no globals and no service locator.
- Every object gets its dependencies when it is created; nothing is set afterwards. Shared objects are created first:
  the snapshot holder, and the event that wakes the channel cache's task.
- Nothing runs before `Lifecycle.start`: the application starts and stops the tasks (`application.py`).
- Required settings are checked here, by name, before anything is opened.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from tokensvc.aws.control_plane import ControlPlane
from tokensvc.aws.ivs import AwsControlPlane, CallObserver, default_region, ignore_calls, ivs_regions
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.background.refresh import INTERVAL_SECONDS as REFRESH_INTERVAL_SECONDS
from tokensvc.background.refresh import Refresh, SnapshotHolder
from tokensvc.callers.api_keys import KEY_PREFIX, key_digest, key_id_of
from tokensvc.callers.store import StoredSecret
from tokensvc.clock import Clock, ConfirmedClock, StoreClock, SystemClock
from tokensvc.container.background import (
    BackgroundConfig,
    BackgroundTasks,
    DispatchConfig,
    WorkerIdentity,
    make_background_tasks,
)
from tokensvc.container.keys_context import (
    ROTATION_LEASE,
    ROTATION_LEASE_SECONDS,
    deployment_max_staleness,
    make_keys_context,
    make_reconciler_config,
    new_worker_id,
)
from tokensvc.container.logs import process_log
from tokensvc.container.vault import check_subject_key, make_cipher, open_vault, required_kek_settings, vault_location
from tokensvc.deployment.record import Deployment, RotationPolicy
from tokensvc.diagnostics.status import StatusData
from tokensvc.errors import FieldError, InvalidRotationPolicy, RowUnreadable, SettingsError
from tokensvc.jose.signing.choice import SignerChoice
from tokensvc.keys.context import KeysContext
from tokensvc.keys.rotation_policy import PROPAGATION_SECONDS, check_policy, max_staleness_seconds
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.leader import LEASE_SECONDS as DISPATCH_LEASE_SECONDS
from tokensvc.revocations.leader import read_leaders
from tokensvc.revocations.service import RevocationService
from tokensvc.runner import BackgroundTask, Lifecycle
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.channel_cache import INTERVAL_SECONDS as CHANNELS_INTERVAL_SECONDS
from tokensvc.tokens.channel_cache import ChannelCache
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
    store: Store
    snapshots: SnapshotHolder
    """Holds this worker's current snapshot."""
    refresh: Refresh
    channel_cache: ChannelCache
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
    store: Store
    lifecycle: Lifecycle


def open_configured_store(settings: Settings) -> Store:
    """Open the store that the settings name. Raises StoreError, also if its schema is not this version's."""
    require(settings, "database_url")
    assert settings.database_url is not None  # noqa: S101 - `require` has just checked it
    return open_store(settings.database_url.get_secret_value(), timeout_seconds=settings.store_timeout_seconds)


def make_control_plane(settings: Settings, observe: CallObserver = ignore_calls) -> AwsControlPlane:
    """The control plane of the settings. Raises SettingsError if boto3's endpoint belongs to the other kind."""
    control_plane = AwsControlPlane(str(settings.control_plane), observe)
    control_plane.check(next(iter(settings.regions), None) or default_region() or "us-east-1")
    return control_plane


def configured_regions(settings: Settings) -> tuple[str, ...]:
    """The regions to hold keys in: the setting, else boto3's default region. Raises SettingsError if there is neither,
    or IVS is not available in the latter (the setting was checked when it was read)."""
    regions = _known_regions(settings)
    if not regions:
        raise SettingsError(
            [FieldError("TOKENSVC_REGIONS", "must be set, because boto3 has no default region (AWS_REGION) either")]
        )
    if not settings.regions and regions[0] not in ivs_regions():
        known = ", ".join(sorted(ivs_regions()))
        rule = (
            f"must be set, because Amazon IVS is not available in boto3's default region {regions[0]}; its regions "
            f"are: {known}"
        )
        raise SettingsError([FieldError("TOKENSVC_REGIONS", rule)])
    return regions


def _known_regions(settings: Settings) -> tuple[str, ...]:
    return settings.regions or tuple(filter(None, [default_region()]))


def apply_deployment_settings(settings: Settings, store: Store) -> Deployment:
    """Write the settings that concern the whole deployment to the store; settings that are not given stay unchanged.

    Raises InvalidRotationPolicy, in which case nothing was changed.
    """
    deployment = store.deployment.read()
    max_ttl_seconds = deployment.max_ttl_seconds if settings.max_ttl_seconds is None else settings.max_ttl_seconds
    if max_ttl_seconds < 1:
        raise RowUnreadable(
            f"{deployment.damage}; set it again with: TOKENSVC_MAX_TTL_SECONDS=3600 tokensvc db upgrade"
        )
    propagation_seconds = (
        deployment.key_propagation_seconds
        if settings.key_propagation_seconds is None
        else settings.key_propagation_seconds
    )
    standby = deployment.key_standby if settings.key_standby is None else settings.key_standby
    max_age = deployment.key_max_age_seconds
    if settings.key_max_age_days is not None:
        max_age = settings.key_max_age_days * 86_400 or None
    policy = RotationPolicy(
        propagation_seconds=propagation_seconds,
        max_staleness_seconds=deployment_max_staleness(settings, store),
        max_age_seconds=max_age,
        standby=standby,
    )
    check_policy(policy, max_ttl_seconds)
    if propagation_seconds == 0 and "aws" in (settings.control_plane, deployment.control_plane):
        raise InvalidRotationPolicy(
            "a propagation delay of 0 s is allowed only with the local IVS: workers need up to "
            f"{PROPAGATION_SECONDS:g} s to load a new key, and AWS needs time to distribute it"
        )
    store.deployment.set_max_ttl_seconds(max_ttl_seconds)
    return store.deployment.set_rotation(
        propagation_seconds=propagation_seconds, max_age_seconds=max_age, standby=standby
    )


def open_deployment(
    settings: Settings, observe: CallObserver = ignore_calls
) -> tuple[AwsControlPlane, Store, SecretCipher]:
    """Open IVS, the store bound to it, and the cipher, for everything that signs or stores keys. Endpoint and vault are
    checked first, so that a store is never bound to a control plane that boto3 would not call."""
    require(settings, "control_plane", "database_url", *required_kek_settings(settings))
    vault_location(settings)
    control_plane = make_control_plane(settings, observe)
    store = open_configured_store(settings)
    try:
        store.deployment.bind(str(settings.control_plane))
        return control_plane, store, make_cipher(settings, store)
    except BaseException:
        store.close()
        raise


def make_command_context(
    settings: Settings,
    store: Store,
    control_plane: ControlPlane,
    cipher: SecretCipher,
    report: Callable[[str], None],
) -> KeysContext:
    """The context of the use cases on keys, for a command: on the store's clock, with a lease holder of its own."""
    return make_keys_context(
        settings=settings,
        store=store,
        vault=open_vault(settings, store, cipher),
        control_plane=control_plane,
        clock=StoreClock(store.versions.read().now),
        lease_holder=new_worker_id(),
        report=report,
    )


def make_served_regions(settings: Settings, store: Store) -> ServedRegions:
    """The regions that this deployment serves. boto3's default region is looked up only if nothing else decides."""
    return ServedRegions(store.keys, store.deployment, lambda: _known_regions(settings))


def make_revocation_service(
    *,
    settings: Settings,
    store: Store,
    subjects: ViewerIdResolver,
    clock: Clock,
    on_accepted: Callable[[], None] = lambda: None,
) -> RevocationService:
    """Create the service; `on_accepted` is called after each acceptance and must return immediately."""
    return RevocationService(
        store=store.revocations,
        subjects=subjects,
        clock=clock,
        max_staleness=lambda: deployment_max_staleness(settings, store),
        new_id=new_revocation_id,
        regions=make_served_regions(settings, store),
        on_accepted=on_accepted,
    )


def open_revocation_service(settings: Settings, store: Store) -> RevocationService:
    """The same for a command. A KEK is required only when a subject is given."""
    subjects = ViewerIdResolver(store.deployment, lambda: make_cipher(settings, store))
    clock = StoreClock(store.versions.read().now)
    return make_revocation_service(settings=settings, store=store, subjects=subjects, clock=clock)


def new_revocation_id() -> str:
    """A new random id of a revocation: unique and not guessable."""
    return "r" + secrets.token_hex(8)


def new_api_key() -> tuple[str, StoredSecret]:
    """A new API key, made of a public id and 256 random bits, and the record that the store keeps of it."""
    key = f"{KEY_PREFIX}{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    return key, StoredSecret(
        key_id=key_id_of(key), digest=key_digest(key), created_at=datetime.now(UTC), expires_at=None
    )


def check_startup(settings: Settings) -> None:
    """Check that a worker can start: once, in the parent, so that an error is reported once. Raises as `assemble`."""
    from tokensvc.jose.signing.choice import choose_signer

    choose_signer(settings.signer)
    _, store, cipher = open_deployment(settings)
    try:
        if settings.background_tasks:
            configured_regions(settings)
        check_subject_key(store, cipher)
    finally:
        store.close()


def assemble(settings: Settings, *, checked: bool = False) -> Service:
    """Assemble the service of `serve`. `checked`: `check_startup` has just passed for this deployment.

    Raises SettingsError, StoreError, WrongPassphrase or ForeignDeployment.
    """
    from tokensvc.container.prometheus import PrometheusMetrics
    from tokensvc.jose.signing.choice import choose_signer

    clock, metrics = SystemClock(), PrometheusMetrics(process_log.writer.take_dropped)
    signer_choice = choose_signer(settings.signer, metrics)
    metrics.signer_chosen(signer_choice.signer.name, signer_choice.fallback_reason)
    control_plane, store, cipher = open_deployment(settings, metrics.ivs_request)
    if not checked:
        check_subject_key(store, cipher)
    vault, worker_id = open_vault(settings, store, cipher), new_worker_id()
    regions = configured_regions(settings) if settings.background_tasks else _known_regions(settings)
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
        config=BackgroundConfig(reconciler=reconciler, dispatch=dispatch) if settings.background_tasks else None,
        clock=clock,
        metrics=metrics,
        failure_log=failure_log,
    )
    refresh = Refresh(
        versions=store.versions,
        deployment=store.deployment,
        keys=store.keys,
        callers=store.callers,
        channels=store.channels,
        denials=DenylistSync(store.denials),
        vault=vault,
        subjects=subjects,
        signer=signer_choice.signer,
        clock=clock,
        max_staleness_seconds=max_staleness_seconds(settings.snapshot_lease_seconds, settings.store_timeout_seconds),
        snapshots=snapshots,
        on_replacement=tasks.notifier.notify_replaced,
    )
    make_task = partial(BackgroundTask, on_failure=metrics.task_failed, failure_log=failure_log)
    refresh_task = make_task(
        "refresh",
        lambda: _refresh_and_notify(refresh=refresh, tasks=tasks, metrics=metrics, clock=clock),
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
    metrics_task = make_task(
        "metrics",
        metrics.flush,
        every_seconds=METRICS_INTERVAL_SECONDS,
        backoff_max_seconds=METRICS_INTERVAL_SECONDS,
    )
    return Service(
        settings=settings,
        clock=clock,
        metrics=metrics,
        store=store,
        snapshots=snapshots,
        refresh=refresh,
        channel_cache=channel_cache,
        tasks=tasks,
        lifecycle=Lifecycle(first=refresh_task, others=(channels_task, metrics_task, *tasks.tasks)),
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
    control_plane, store, cipher = open_deployment(settings, metrics.ivs_request)
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
        config=BackgroundConfig(reconciler=reconciler, dispatch=dispatch),
        clock=clock,
        metrics=metrics,
        failure_log=failure_log,
    )
    versions_task = BackgroundTask(
        "versions",
        lambda: tasks.notifier.poll(store.versions),
        every_seconds=REFRESH_INTERVAL_SECONDS,
        backoff_max_seconds=REFRESH_INTERVAL_SECONDS,
        on_failure=metrics.task_failed,
        failure_log=failure_log,
    )
    return WorkerService(
        clock=clock, metrics=metrics, store=store, lifecycle=Lifecycle(first=versions_task, others=tasks.tasks)
    )


def _refresh_and_notify(*, refresh: Refresh, tasks: BackgroundTasks, metrics: Metrics, clock: Clock) -> None:
    """Refresh the snapshot, then notify the tasks of changes. Registers first: an unregistered worker must not sign."""
    tasks.heartbeats.ensure_registered()
    try:
        refresh.run_once()
    finally:
        metrics.snapshot_age(clock.monotonic() - refresh.current.refresh_started_at)
    tasks.notifier.update(refresh.loaded_versions)
    for account_region, region_keys in refresh.current.keyring.region_keys.items():
        age = (
            clock.now() - region_keys.active.activated_at.timestamp()
            if region_keys.active and region_keys.active.activated_at
            else None
        )
        metrics.keys(account_region.region, age, len(region_keys.verification_keys))
