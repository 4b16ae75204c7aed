"""Assembly: settings -> Service, top to bottom. The only place that knows which adapter stands behind which port.

Invariants
- Each function makes one layer from the one before; nothing is looked up from afar, nothing is global.
- Everything gets what it needs when it is made; nothing is set on it afterwards. What is needed in both directions is
  made first: the holder of the snapshot, and the event that wakes the channel cache's task.
- Nothing runs before `Lifecycle.start`: the application starts and stops the loops (`app.py`).
- What a command cannot do without is required here, by name, before anything is opened.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

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
from tokensvc.container.logs import process_log
from tokensvc.container.reconciler import (
    ROTATION_LEASE,
    ROTATION_LEASE_SECONDS,
    deployment_max_staleness,
    make_keys_context,
    make_reconciler_config,
    new_worker_id,
)
from tokensvc.container.vault import check_subject_key, make_cipher, open_vault, required_kek_settings, vault_location
from tokensvc.deployment.record import Deployment, RotationPolicy
from tokensvc.diagnostics.status import StatusData
from tokensvc.errors import FieldError, InvalidRotationPolicy, RowUnreadable, SettingsError
from tokensvc.jose.signing.choice import Chosen
from tokensvc.keys.context import KeysContext
from tokensvc.keys.rotation_policy import PROPAGATION_SECONDS, check_policy, max_staleness_seconds
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.revocations.dispatcher import ServedRegions
from tokensvc.revocations.leader import LEASE_SECONDS as DISPATCH_LEASE_SECONDS
from tokensvc.revocations.leader import read_leaders
from tokensvc.revocations.service import RevocationService
from tokensvc.runner import BackgroundTask, Lifecycle
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.channel_cache import INTERVAL_SECONDS as CHANNELS_INTERVAL_SECONDS
from tokensvc.tokens.channel_cache import ChannelCache
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_ids import ViewerIdResolver
from tokensvc.vault.cipher import SecretCipher

METRICS_INTERVAL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Service:
    """Everything that `app.py` serves with."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    store: Store
    snapshots: SnapshotHolder
    """Where this worker's snapshot is read."""
    refresh: Refresh
    channel_cache: ChannelCache
    tasks: BackgroundTasks
    lifecycle: Lifecycle
    """Every background loop of the process, those of `tasks` among them. Its first is the refresh of the snapshot."""
    signer_choice: Chosen
    """What signs."""
    revocation_service: RevocationService
    make_context: Callable[[], KeysContext]
    """What wishes about keys are stored with, on the store's clock as it is now."""
    regions: tuple[str, ...]
    """The regions to hold keys in, as far as this process was told."""

    def snapshot(self) -> Snapshot:
        """What this worker knows at the moment."""
        return self.snapshots.current

    def refresh_soon(self) -> None:
        """Let the snapshot be refreshed without waiting for its next turn. Returns at once."""
        self.lifecycle.first.wake()

    def status_data(self) -> StatusData:
        """What the store says of the deployment. Raises StoreError."""
        store = self.store
        workers = store.workers.list()  # before the versions: see `Heartbeat.holds_keys`
        versions = store.versions.read()
        leader = store.leases.held(ROTATION_LEASE)
        waiting, telling = store.revocation_queue.backlogs(), read_leaders(store.leases)
        return StatusData(
            versions=versions,
            deployment=store.deployment.read(),
            keys=store.keys.list(),
            workers=workers,
            leader=leader,
            waiting=waiting,
            dispatchers=telling,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerService:
    """Everything that `worker` runs with."""

    clock: Clock
    metrics: Metrics
    store: Store
    lifecycle: Lifecycle


def open_configured_store(settings: Settings) -> Store:
    """Open the store that the settings name; its schema must be the one that this version reads and writes."""
    require(settings, "database_url")
    assert settings.database_url is not None  # noqa: S101 - `require` has just seen to it
    return open_store(settings.database_url.get_secret_value(), timeout_seconds=settings.store_timeout_seconds)


def make_control_plane(settings: Settings, observe: CallObserver = ignore_calls) -> AwsControlPlane:
    """IVS, as the settings name it. Raises SettingsError when boto3's endpoint is of the other kind."""
    control_plane = AwsControlPlane(str(settings.control_plane), observe)
    control_plane.check(next(iter(settings.regions), None) or default_region() or "us-east-1")
    return control_plane


def configured_regions(settings: Settings) -> tuple[str, ...]:
    """The regions to hold keys in: the setting, else boto3's own region. Raises SettingsError when there is neither, or
    the latter has no IVS (the setting was checked when it was read)."""
    regions = _known_regions(settings)
    if not regions:
        raise SettingsError([FieldError("TOKENSVC_REGIONS", "must name a region, or boto3's AWS_REGION must")])
    if not settings.regions and regions[0] not in ivs_regions():
        known = ", ".join(sorted(ivs_regions()))
        rule = f"must name a region of Amazon IVS, since boto3's own, {regions[0]}, is none; these are: {known}"
        raise SettingsError([FieldError("TOKENSVC_REGIONS", rule)])
    return regions


def _known_regions(settings: Settings) -> tuple[str, ...]:
    return settings.regions or tuple(filter(None, [default_region()]))


def apply_deployment_settings(settings: Settings, store: Store) -> Deployment:
    """Write what the settings say of the whole deployment into the store; what they leave out stays as it is.

    Raises InvalidRotationPolicy, and then nothing was changed.
    """
    now_set = store.deployment.read()
    ceiling = now_set.max_ttl_seconds if settings.max_ttl_seconds is None else settings.max_ttl_seconds
    if ceiling < 1:
        raise RowUnreadable(f"{now_set.damage}; set it anew: TOKENSVC_MAX_TTL_SECONDS=3600 tokensvc db upgrade")
    lead = (
        now_set.key_propagation_seconds
        if settings.key_propagation_seconds is None
        else settings.key_propagation_seconds
    )
    standby = now_set.key_standby if settings.key_standby is None else settings.key_standby
    max_age = now_set.key_max_age_seconds
    if settings.key_max_age_days is not None:
        max_age = settings.key_max_age_days * 86_400 or None
    policy = RotationPolicy(
        propagation_seconds=lead,
        max_staleness_seconds=deployment_max_staleness(settings, store),
        max_age_seconds=max_age,
        standby=standby,
    )
    check_policy(policy, ceiling)
    if lead == 0 and "aws" in (settings.control_plane, now_set.control_plane):
        raise InvalidRotationPolicy(
            "a propagation delay of 0 s is for the local IVS only: workers need up to "
            f"{PROPAGATION_SECONDS:g} s to learn of a new key, and AWS needs time too"
        )
    store.deployment.set_max_ttl_seconds(ceiling)
    return store.deployment.set_rotation(propagation_seconds=lead, max_age_seconds=max_age, standby=standby)


def open_deployment(
    settings: Settings, observe: CallObserver = ignore_calls
) -> tuple[AwsControlPlane, Store, SecretCipher]:
    """IVS, the store bound to it, and the wrapping keys: the way in for whoever signs or keeps keys. Endpoint and vault
    are looked at first, so that a store is never bound to a control plane that boto3 would not call."""
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


def open_keys_context(settings: Settings, report: Callable[[str], None]) -> KeysContext:
    """What a command works on keys with."""
    control_plane, store, cipher = open_deployment(settings)
    clock = StoreClock(store.versions.read().now)
    return make_keys_context(
        settings=settings,
        store=store,
        vault=open_vault(settings, store, cipher),
        control_plane=control_plane,
        clock=clock,
        lease_holder=new_worker_id(),
        report=report,
    )


def make_served_regions(settings: Settings, store: Store) -> ServedRegions:
    """Where this deployment works. boto3's own region is looked up when there is no other way to answer."""
    return ServedRegions(store.keys, store.deployment, lambda: _known_regions(settings))


def make_revocation_service(
    *,
    settings: Settings,
    store: Store,
    subjects: ViewerIdResolver,
    clock: Clock,
    on_accepted: Callable[[], None] = lambda: None,
) -> RevocationService:
    """What revocations are accepted with; `accepted` is called after each acceptance, and returns at once."""
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
    """The same for a command. What wraps is asked for when there is a subject."""
    subjects = ViewerIdResolver(store.deployment, lambda: make_cipher(settings, store))
    clock = StoreClock(store.versions.read().now)
    return make_revocation_service(settings=settings, store=store, subjects=subjects, clock=clock)


def new_revocation_id() -> str:
    """Names a revocation; nobody else's, however many there are, and nothing that could be guessed."""
    return "r" + secrets.token_hex(8)


def new_api_key() -> tuple[str, StoredSecret]:
    """A fresh API key, a public id that finds it and 256 random bits, and what the store keeps of it."""
    key = f"{KEY_PREFIX}{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    return key, StoredSecret(
        key_id=key_id_of(key), digest=key_digest(key), created_at=datetime.now(UTC), expires_at=None
    )


def check_startup(settings: Settings) -> None:
    """See that a worker could start: once, in the parent, so that what is wrong is said once."""
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
    """Everything that serving needs. `checked`: this deployment has passed `check_startup` a moment ago.

    Raises SettingsError, StoreError, WrongPassphrase or ForeignDeployment.
    """
    from tokensvc.container.prometheus import PrometheusMetrics
    from tokensvc.jose.signing.choice import choose_signer

    clock, metrics = SystemClock(), PrometheusMetrics(process_log.writer.take_dropped)
    chosen = choose_signer(settings.signer, metrics)
    metrics.signer_chosen(chosen.signer.name, chosen.fallback_reason)
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
        wait_seconds=settings.channel_lookup_timeout_seconds,
        calls_per_second=settings.channel_calls_per_second,
        wake=channels_wanted.set,
    )
    identity = WorkerIdentity(
        worker_id=worker_id,
        lease_seconds=settings.snapshot_lease_seconds,
        store_timeout_seconds=settings.store_timeout_seconds,
        undecryptable=lambda: snapshots.current.keyring.undecryptable,
        signer_choice=chosen,
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
        signer=chosen.signer,
        clock=clock,
        max_staleness_seconds=max_staleness_seconds(settings.snapshot_lease_seconds, settings.store_timeout_seconds),
        snapshots=snapshots,
        on_replacement=tasks.notifier.store_was_replaced,
    )
    refreshing = BackgroundTask(
        "refresh",
        lambda: _refresh_and_notify(refresh=refresh, tasks=tasks, metrics=metrics, clock=clock),
        every_seconds=REFRESH_INTERVAL_SECONDS,
        backoff_max_seconds=REFRESH_INTERVAL_SECONDS,
        on_failure=metrics.task_failed,
        failure_log=failure_log,
    )
    finding = BackgroundTask(
        "channels",
        channel_cache.run_once,
        every_seconds=CHANNELS_INTERVAL_SECONDS,
        backoff_max_seconds=30,
        on_failure=metrics.task_failed,
        failure_log=failure_log,
        wake_event=channels_wanted,
    )
    counting = BackgroundTask(
        "metrics",
        metrics.flush,
        every_seconds=METRICS_INTERVAL_SECONDS,
        backoff_max_seconds=METRICS_INTERVAL_SECONDS,
        on_failure=metrics.task_failed,
        failure_log=failure_log,
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
        lifecycle=Lifecycle(first=refreshing, others=(finding, counting, *tasks.tasks)),
        signer_choice=chosen,
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
    """Everything that background tasks need without HTTP. Raises as `assemble` does."""
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
    polling = BackgroundTask(
        "versions",
        lambda: tasks.notifier.poll(store.versions),
        every_seconds=REFRESH_INTERVAL_SECONDS,
        backoff_max_seconds=REFRESH_INTERVAL_SECONDS,
        on_failure=metrics.task_failed,
        failure_log=failure_log,
    )
    return WorkerService(
        clock=clock, metrics=metrics, store=store, lifecycle=Lifecycle(first=polling, others=tasks.tasks)
    )


def _refresh_and_notify(*, refresh: Refresh, tasks: BackgroundTasks, metrics: Metrics, clock: Clock) -> None:
    """One refresh of the snapshot, and what follows from it. A worker that the store does not know of signs nothing."""
    tasks.heartbeats.ensure_registered()
    try:
        refresh.run_once()
    finally:
        metrics.snapshot_age(clock.monotonic() - refresh.current.refresh_started_at)
    tasks.notifier.update(refresh.loaded_versions)
    for place, slot in refresh.current.keyring.region_keys.items():
        age = clock.now() - slot.active.activated_at.timestamp() if slot.active and slot.active.activated_at else None
        metrics.keys(place.region, age, len(slot.verification_keys))
