"""The assembled background tasks: each process reports its state, and notices changes immediately."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.samples import HERE, MAX_STALENESS_SECONDS, denial, revocation
from tests.support.audit import EVENT
from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import EAST, InMemoryDeployment
from tests.support.refresh_worker import CountingPort, CountingWorker
from tokensvc.background.changes import NO_VERSIONS_READ
from tokensvc.background.heartbeat import Heartbeats
from tokensvc.container import service
from tokensvc.container.background import (
    BackgroundConfig,
    BackgroundTasks,
    DispatchConfig,
    WorkerIdentity,
    make_background_tasks,
)
from tokensvc.container.keys_context import ReconcilerConfig
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.container.sampled_metrics import SnapshotMetrics
from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Heartbeat
from tokensvc.errors import StoreUnavailable
from tokensvc.keys import commands
from tokensvc.keys.lifecycle import KeyState
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.model import Priority
from tokensvc.revocations.scheduler import RevocationScheduler
from tokensvc.runner import stop_all
from tokensvc.storage.store import Store
from tokensvc.tokens.keyring import Keyring

LEASE = f"dispatch:{HERE.account}:{HERE.region}"
TIMEOUT_SECONDS = 30.0
"""Longer than anything here takes; only a failing test waits this long."""


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def make_tasks(
    deployment: InMemoryDeployment, *, runs_background: bool, undecryptable: frozenset[str] = frozenset()
) -> BackgroundTasks:
    regions = ServedRegions(deployment.store.keys, deployment.store.deployment, lambda: [EAST])
    config = BackgroundConfig(
        reconciler=ReconcilerConfig(make_context=deployment.context, regions=[EAST], lease_seconds=20.0),
        dispatch=DispatchConfig(control_plane=deployment.ivs, rate_fraction=1.0, regions=regions),
        audit_retention_days=90,
    )
    identity = WorkerIdentity(
        worker_id="a", lease_seconds=900.0, store_timeout_seconds=5.0, undecryptable=lambda: undecryptable
    )
    return make_background_tasks(
        store=deployment.store,
        identity=identity,
        config=config if runs_background else None,
        clock=deployment.clock,
        metrics=PrometheusMetrics(),
    )


def heartbeat_of(store: Store) -> Heartbeat:
    [worker] = store.workers.list()
    return worker.heartbeat


def wait_for(condition: Callable[[], object]) -> None:
    ends_at = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        threading.Event().wait(0.01)


def test_only_a_process_with_background_tasks_rotates_prunes_and_dispatches(deployment: InMemoryDeployment) -> None:
    assert [task.name for task in make_tasks(deployment, runs_background=False).tasks] == ["heartbeat"]
    assert [task.name for task in make_tasks(deployment, runs_background=True).tasks] == [
        "heartbeat",
        "rotation",
        "prune",
        "dispatch",
    ]


@pytest.mark.slow
def test_an_accepted_revocation_is_dispatched_immediately_and_the_lease_released(
    deployment: InMemoryDeployment,
) -> None:
    """By the process that accepted it and by one that notices the change: in the tasks' threads, with a stopped
    clock."""
    for number, notify in enumerate((_accepted_here, _noticed_by_version)):
        process = make_tasks(deployment, runs_background=True)
        dispatch_task = process.tasks[-1]
        dispatch_task.start()
        assert dispatch_task.first_run_finished.wait(TIMEOUT_SECONDS)
        deployment.store.revocations.accept(
            "b", [revocation(f"r{number}")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, events=[EVENT]
        )
        notify(process)()
        wait_for(lambda: deployment.store.leases.held(LEASE) is not None)
        stop_all(process.tasks[-1:])
        assert deployment.store.leases.held(LEASE) is None


def _accepted_here(process: BackgroundTasks) -> Callable[[], None]:
    return process.on_accepted


def _noticed_by_version(process: BackgroundTasks) -> Callable[[], None]:
    return lambda: process.notifier.update(NO_VERSIONS_READ._replace(denials=Version(99)))


def test_a_process_without_background_tasks_leaves_dispatching_to_others(deployment: InMemoryDeployment) -> None:
    make_tasks(deployment, runs_background=False).on_accepted()
    assert make_tasks(deployment, runs_background=False).notifier._on_denials == ()


def test_a_heartbeat_reports_lease_versions_and_undecryptable_keys(deployment: InMemoryDeployment) -> None:
    process = make_tasks(deployment, runs_background=False, undecryptable=frozenset({"k2", "k1"}))
    versions = deployment.store.versions.read()
    process.notifier.update(versions)
    process.heartbeats.run_once()
    heartbeat = heartbeat_of(deployment.store)
    assert (heartbeat.worker_id, heartbeat.lease_seconds, heartbeat.store_timeout_seconds) == ("a", 900.0, 5.0)
    assert (heartbeat.keys_version, heartbeat.keys_tag) == versions.keys
    assert (heartbeat.deployment_version, heartbeat.deployment_tag) == versions.deployment
    assert heartbeat.undecryptable == ("k1", "k2")


@pytest.mark.slow
def test_a_change_is_handled_and_reported_immediately_and_a_stop_deregisters(deployment: InMemoryDeployment) -> None:
    """In the tasks' threads, whose pauses are much longer than this test."""
    deployment.generate()
    process = make_tasks(deployment, runs_background=True)
    for task in process.tasks:
        task.start()
    wait_for(lambda: _has_inspected(deployment, process))
    deployment.clock.advance(30)
    commands.request_rotation(deployment.context(), [EAST], "a test")
    versions = deployment.store.versions.read()
    process.notifier.update(versions)
    wait_for(lambda: deployment.placements(EAST, KeyState.PREPARED))
    wait_for(lambda: heartbeat_of(deployment.store).keys_version == versions.keys.number)
    stop_all(process.tasks)
    assert deployment.store.workers.list() == []


def _has_inspected(deployment: InMemoryDeployment, process: BackgroundTasks) -> bool:
    process.heartbeats.run_once()
    return bool(heartbeat_of(deployment.store).regions)


@pytest.mark.slow
def test_a_worker_loads_no_keys_before_it_is_registered_in_the_store(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    """Otherwise a key could be deleted while this worker still signs with it, because its lease was not counted."""
    deployment.generate()
    process, workers = make_tasks(deployment, runs_background=False), CountingPort(deployment.store.workers)
    workers.unavailable_from = 0
    unregistered = replace(process, heartbeats=Heartbeats(workers, lambda: Heartbeat("a", "here", 1, 900.0, 0, 0)))
    metrics = SnapshotMetrics(PrometheusMetrics(), clock, ())
    with pytest.raises(StoreUnavailable):
        service._refresh_and_notify(refresh=worker.refresh, tasks=unregistered, snapshot_metrics=metrics)
    assert worker.refresh.current.keyring == Keyring({})
    workers.unavailable_from = None
    service._refresh_and_notify(refresh=worker.refresh, tasks=unregistered, snapshot_metrics=metrics)
    assert worker.refresh.current.keyring.region_keys
    workers.unavailable_from = 0
    service._refresh_and_notify(refresh=worker.refresh, tasks=unregistered, snapshot_metrics=metrics)


@pytest.fixture
def worker(deployment: InMemoryDeployment, clock: ManualClock) -> CountingWorker:
    clock.wall = deployment.store.versions.read().now
    return CountingWorker(deployment, clock)


def test_a_process_with_a_fast_clock_prunes_no_denial_in_force(deployment: InMemoryDeployment) -> None:
    now = deployment.store.versions.read().now
    deployment.store.denials.add("b", [denial("v", until=int(now) + 60)], event=EVENT)
    deployment.clock.wall = now + 86_400
    [prune_task] = [task for task in make_tasks(deployment, runs_background=True).tasks if task.name == "prune"]
    prune_task._run_once()
    assert len(deployment.store.denials.in_force(("*",), limit=10)) == 1


def test_a_process_registers_again_when_the_store_was_replaced(deployment: InMemoryDeployment) -> None:
    """Otherwise no drain would count its lease until its next heartbeat."""
    process = make_tasks(deployment, runs_background=False)
    process.heartbeats.ensure_registered()
    process.notifier.update(deployment.store.versions.read())
    deployment.store.workers.deregister("a")
    process.notifier.notify_replaced()
    assert not heartbeat_of(deployment.store).has_keys_version(deployment.store.versions.read().keys)


def test_dispatching_acquires_its_leases_again_when_the_store_was_replaced(
    deployment: InMemoryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[RevocationScheduler] = []
    monkeypatch.setattr(RevocationScheduler, "reacquire_leases", lambda scheduler: called.append(scheduler))
    make_tasks(deployment, runs_background=True).notifier.notify_replaced()
    assert len(called) == 1
