"""Contract of `Workers`."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tokensvc.deployment.workers import Heartbeat, RegionStatus
from tokensvc.errors import Action, Remedy
from tokensvc.problems import Problem, ProblemCode
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

FIRST = Heartbeat(
    "a:1:f00d",
    "a",
    1,
    900.0,
    7,
    3,
    store_timeout_seconds=30.0,
    undecryptable=("k1",),
    problems=(
        Problem(ProblemCode.ROTATION_FAILED, "us-east-1", {"reason": "IVS did not answer"}),
        Problem("of_a_newer_version", parameters={"a": "b"}, remedy=Remedy(Action.RECONCILE_KEYS, {"key_id": "k1"})),
    ),
    regions=(
        RegionStatus("us-east-1", 2, 1, "wait until the next key has propagated", 30.5, 20.0),
        RegionStatus("us-west-2", 0, 0, "", None, 20.0),
    ),
)
SECOND = Heartbeat("b:2:f00d", "b", 2, 60.0, 8, 3)


def age_heartbeat(store: Store, worker_id: str, seconds: float) -> None:
    """Make the last heartbeat of a worker that many seconds older."""
    with write_transaction(store.engine) as connection:
        update = sa.update(schema.workers).where(schema.workers.c.worker_id == worker_id)
        connection.execute(update.values(last_heartbeat_at=schema.workers.c.last_heartbeat_at - seconds))


def test_heartbeats_are_listed_oldest_worker_first(store: Store) -> None:
    before = store.versions.read().now
    store.workers.record_heartbeat(FIRST)
    store.workers.record_heartbeat(SECOND)
    after = store.versions.read().now
    first, second = store.workers.list()
    assert (first.heartbeat, second.heartbeat) == (FIRST, SECOND)
    assert before - 0.01 <= first.last_heartbeat_at.timestamp() <= second.last_heartbeat_at.timestamp() <= after + 0.01
    assert first.started_at <= second.started_at


def test_a_heartbeat_replaces_the_previous_one(store: Store) -> None:
    store.workers.record_heartbeat(FIRST)
    [before] = store.workers.list()
    store.workers.record_heartbeat(FIRST._replace(keys_version=9, undecryptable=(), problems=(), regions=()))
    [after] = store.workers.list()
    assert after.heartbeat == FIRST._replace(keys_version=9, undecryptable=(), problems=(), regions=())
    assert after.started_at == before.started_at
    assert after.last_heartbeat_at >= before.last_heartbeat_at


def test_a_worker_that_deregisters_is_removed(store: Store) -> None:
    store.workers.record_heartbeat(FIRST)
    store.workers.record_heartbeat(SECOND)
    store.workers.deregister(FIRST.worker_id)
    store.workers.deregister("never was")
    assert [worker.heartbeat for worker in store.workers.list()] == [SECOND]


@pytest.mark.parametrize(("seconds", "removed"), [(50.0, 0), (70.0, 1)])
def test_an_unresponsive_worker_is_removed(store: Store, seconds: float, removed: int) -> None:
    store.workers.record_heartbeat(FIRST)
    store.workers.record_heartbeat(SECOND)
    age_heartbeat(store, FIRST.worker_id, seconds)
    assert store.workers.remove_unresponsive(60) == removed
    assert len(store.workers.list()) == 2 - removed
