"""What goes on by itself, put together: each process tells what it knows, and hears at once what changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.samples import HERE, REACH, denial, revocation
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
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.container.reconciler import ReconcilerConfig
from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Heartbeat
from tokensvc.errors import StoreUnavailable
from tokensvc.keys import commands
from tokensvc.keys.lifecycle import KeyState
from tokensvc.revocations.dispatcher import ServedRegions
from tokensvc.revocations.model import Priority
from tokensvc.revocations.scheduler import RevocationScheduler
from tokensvc.runner import stop_all
from tokensvc.storage.store import Store
from tokensvc.tokens.keyring import Keyring

LEASE = f"dispatch:{HERE.account}:{HERE.region}"
SOON = 5.0
"""More than anything here takes; it is reached only by a failing test."""


@pytest.fixture
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def duties(
    stage: InMemoryDeployment, *, performs: bool, undecryptable: frozenset[str] = frozenset()
) -> BackgroundTasks:
    regions = ServedRegions(stage.store.keys, stage.store.deployment, lambda: [EAST])
    background = BackgroundConfig(
        reconciler=ReconcilerConfig(make_context=stage.context, regions=[EAST], lease_seconds=20.0),
        dispatch=DispatchConfig(control_plane=stage.ivs, rate_fraction=1.0, regions=regions),
    )
    identity = WorkerIdentity(
        worker_id="a", lease_seconds=900.0, store_timeout_seconds=5.0, undecryptable=lambda: undecryptable
    )
    return make_background_tasks(
        store=stage.store,
        identity=identity,
        config=background if performs else None,
        clock=stage.clock,
        metrics=PrometheusMetrics(),
    )


def the_heartbeat(store: Store) -> Heartbeat:
    [worker] = store.workers.list()
    return worker.heartbeat


def until(look: Callable[[], object]) -> None:
    ends_at = time.monotonic() + SOON
    while not look():
        assert time.monotonic() < ends_at
        threading.Event().wait(0.01)


def test_only_who_performs_rotates_prunes_and_tells_ivs(stage: InMemoryDeployment) -> None:
    assert [loop.name for loop in duties(stage, performs=False).tasks] == ["heartbeat"]
    assert [loop.name for loop in duties(stage, performs=True).tasks] == ["heartbeat", "rotation", "prune", "dispatch"]


def test_a_revocation_that_was_accepted_is_taken_up_at_once_and_the_lease_is_given_up(stage: InMemoryDeployment) ->
None:
    """By who accepted it, and by who hears of it: in the loops' own threads, on a clock that stands still."""
    for number, tell in enumerate((_say_so, _hear_of_denials)):
        process = duties(stage, performs=True)
        dispatching = process.tasks[-1]
        dispatching.start()
        assert dispatching.first_run_finished.wait(SOON)
        stage.store.revocations.accept("b", [revocation(f"r{number}")], Priority.INTERACTIVE, REACH)
        tell(process)()
        until(lambda: stage.store.leases.held(LEASE) is not None)
        stop_all(process.tasks[-1:])
        assert stage.store.leases.held(LEASE) is None


def _say_so(process: BackgroundTasks) -> Callable[[], None]:
    return process.on_accepted


def _hear_of_denials(process: BackgroundTasks) -> Callable[[], None]:
    return lambda: process.notifier.update(NO_VERSIONS_READ._replace(denials=Version(99)))


def test_where_nobody_dispatches_an_accepted_revocation_waits_for_who_does(stage: InMemoryDeployment) -> None:
    duties(stage, performs=False).on_accepted()
    assert duties(stage, performs=False).notifier._on_denials == ()


def test_a_heartbeat_tells_the_lease_what_was_heard_and_what_could_not_be_opened(stage: InMemoryDeployment) -> None:
    process = duties(stage, performs=False, undecryptable=frozenset({"k2", "k1"}))
    versions = stage.store.versions.read()
    process.notifier.update(versions)
    process.heartbeats.run_once()
    said = the_heartbeat(stage.store)
    assert (said.worker_id, said.lease_seconds, said.store_timeout_seconds) == ("a", 900.0, 5.0)
    assert (said.keys_version, said.keys_tag) == versions.keys
    assert (said.deployment_version, said.deployment_tag) == versions.deployment
    assert said.undecryptable == ("k1", "k2")


def test_what_is_heard_is_acted_on_and_told_at_once_and_goodbye_is_said(stage: InMemoryDeployment) -> None:
    """In the loops' own threads, whose pauses are far longer than this test."""
    stage.generate()
    process = duties(stage, performs=True)
    for loop in process.tasks:
        loop.start()
    until(lambda: _has_looked(stage, process))
    stage.clock.advance(30)
    commands.request_rotation(stage.context(), [EAST], "a test")
    heard = stage.store.versions.read()
    process.notifier.update(heard)
    until(lambda: stage.placements(EAST, KeyState.PREPARED))
    until(lambda: the_heartbeat(stage.store).keys_version == heard.keys.number)
    stop_all(process.tasks)
    assert stage.store.workers.list() == []


def _has_looked(stage: InMemoryDeployment, process: BackgroundTasks) -> bool:
    process.heartbeats.run_once()
    return bool(the_heartbeat(stage.store).regions)


def test_a_worker_knows_nothing_to_sign_with_before_the_store_has_heard_of_it(
    stage: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    """Or a key could be deleted by a shorter lease than this worker signs by."""
    stage.generate()
    process, away = duties(stage, performs=False), CountingPort(stage.store.workers)
    away.away_from = 0
    silent = replace(process, heartbeats=Heartbeats(away, lambda: Heartbeat("a", "here", 1, 900.0, 0, 0)))
    metrics = PrometheusMetrics()
    with pytest.raises(StoreUnavailable):
        service._refresh_and_notify(refresh=worker.refresh, tasks=silent, metrics=metrics, clock=clock)
    assert worker.refresh.current.keyring == Keyring({})
    away.away_from = None
    service._refresh_and_notify(refresh=worker.refresh, tasks=silent, metrics=metrics, clock=clock)
    assert worker.refresh.current.keyring.region_keys
    away.away_from = 0
    service._refresh_and_notify(refresh=worker.refresh, tasks=silent, metrics=metrics, clock=clock)


@pytest.fixture
def worker(stage: InMemoryDeployment, clock: ManualClock) -> CountingWorker:
    clock.wall = stage.store.versions.read().now
    return CountingWorker(stage, clock)


def test_a_process_whose_own_clock_is_ahead_prunes_no_denial_that_is_in_force(stage: InMemoryDeployment) -> None:
    now = stage.store.versions.read().now
    stage.store.denials.add("b", [denial("v", until=int(now) + 60)])
    stage.clock.wall = now + 86_400
    [pruning] = [loop for loop in duties(stage, performs=True).tasks if loop.name == "prune"]
    pruning._run_once()
    assert len(stage.store.denials.in_force(("*",), limit=10)) == 1


def test_a_process_is_introduced_to_the_store_that_took_the_place_of_another(stage: InMemoryDeployment) -> None:
    """Or its lease would count in no drain until its next heartbeat."""
    process = duties(stage, performs=False)
    process.heartbeats.ensure_registered()
    process.notifier.update(stage.store.versions.read())
    stage.store.workers.deregister("a")
    process.notifier.notify_replaced()
    assert not the_heartbeat(stage.store).has_keys_version(stage.store.versions.read().keys)


def test_who_dispatches_asks_for_its_leases_again_when_the_store_was_replaced(
    stage: InMemoryDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RevocationScheduler] = []
    monkeypatch.setattr(RevocationScheduler, "reacquire_leases", lambda duty: asked.append(duty))
    duties(stage, performs=True).notifier.notify_replaced()
    assert len(asked) == 1
