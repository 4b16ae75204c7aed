"""A worker registers before it signs, and the other workers see the problems that it reports."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.problems import make_problem, texts
from tests.support.refresh_worker import CountingPort
from tokensvc.background.heartbeat import UNRESPONSIVE_AFTER_SECONDS, Heartbeats
from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Heartbeat
from tokensvc.errors import StoreUnavailable
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

KEYS = Version(7, "tag of 7")


class WorkerProcess:
    """A process that sends heartbeats; a test sets what the next one reports."""

    def __init__(self, store: Store, worker_id: str, *problems: str) -> None:
        self.heartbeat = Heartbeat(
            worker_id, "here", 1, 900.0, 7, 1, problems=tuple(map(make_problem, problems)), keys_tag=KEYS.tag
        )
        self.port = CountingPort(store.workers)
        self.heartbeats = Heartbeats(self.port, lambda: self.heartbeat)


def make_unresponsive(store: Store, worker_id: str, seconds: float) -> None:
    """Set a worker's last heartbeat back by this many seconds."""
    with write_transaction(store.engine) as connection:
        update = sa.update(schema.workers).where(schema.workers.c.worker_id == worker_id)
        connection.execute(update.values(last_heartbeat_at=schema.workers.c.last_heartbeat_at - seconds))


def test_a_worker_is_registered_once(store: Store) -> None:
    process = WorkerProcess(store, "a")
    process.heartbeats.ensure_registered()
    process.heartbeats.ensure_registered()
    assert process.port.calls.count("record_heartbeat") == 1
    assert [worker.heartbeat for worker in store.workers.list()] == [process.heartbeat]


def test_registration_fails_until_the_store_has_the_heartbeat(store: Store) -> None:
    """An unregistered worker would sign under a lease that no drain time includes."""
    process = WorkerProcess(store, "a")
    process.port.unavailable_from = 0
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            process.heartbeats.ensure_registered()
    process.port.unavailable_from = None
    process.heartbeats.ensure_registered()
    process.port.unavailable_from = 0
    process.heartbeats.ensure_registered()


def test_each_heartbeat_reports_the_current_state(store: Store) -> None:
    process = WorkerProcess(store, "a")
    process.heartbeats.run_once()
    process.heartbeat = process.heartbeat._replace(keys_version=8, undecryptable=("k1",))
    process.heartbeats.run_once()
    assert [worker.heartbeat for worker in store.workers.list()] == [process.heartbeat]


def test_a_deregistered_worker_is_deleted(store: Store) -> None:
    process, other = WorkerProcess(store, "a"), WorkerProcess(store, "b")
    process.heartbeats.run_once()
    other.heartbeats.run_once()
    process.heartbeats.deregister()
    assert [worker.heartbeat.worker_id for worker in store.workers.list()] == ["b"]


def test_every_worker_sees_the_problems_of_all(store: Store) -> None:
    leader, process = WorkerProcess(store, "a", "IVS is down", "full"), WorkerProcess(store, "b", "full")
    leader.heartbeats.run_once()
    process.heartbeats.run_once()
    assert texts(process.heartbeats.problems()) == ["full", "IVS is down"]
    process.heartbeat = process.heartbeat._replace(problems=())
    assert texts(process.heartbeats.problems()) == ["IVS is down", "full"], "a worker's own problems are current"


def test_the_report_of_an_unresponsive_worker_is_ignored(store: Store) -> None:
    leader, process = WorkerProcess(store, "a", "IVS is down"), WorkerProcess(store, "b")
    leader.heartbeats.run_once()
    make_unresponsive(store, "a", UNRESPONSIVE_AFTER_SECONDS - 10)
    process.heartbeats.run_once()
    assert texts(process.heartbeats.problems()) == ["IVS is down"]
    make_unresponsive(store, "a", 11)
    process.heartbeats.run_once()
    assert texts(process.heartbeats.problems()) == []
    assert process.heartbeats.worker_counts(KEYS) == (1, 0)


def test_responsive_and_stale_workers_are_counted(store: Store) -> None:
    processes = [WorkerProcess(store, name) for name in "abc"]
    assert processes[0].heartbeats.worker_counts(KEYS) == (0, 0)
    processes[1].heartbeat = processes[1].heartbeat._replace(keys_version=6)
    for process in processes:
        process.heartbeats.run_once()
    assert processes[2].heartbeats.worker_counts(KEYS) == (3, 1)


def test_only_workers_that_sign_share_the_rates_of_callers(store: Store) -> None:
    processes = [WorkerProcess(store, name) for name in "abc"]
    assert processes[0].heartbeats.signing_workers() == 0
    for process in processes[:2]:
        process.heartbeat = process.heartbeat._replace(signer="openssl")
    for process in reversed(processes):
        process.heartbeats.run_once()
    assert processes[0].heartbeats.signing_workers() == 2
