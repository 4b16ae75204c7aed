"""A worker tells that it is there before it signs, and what it tells reaches the others."""

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


class Fellow:
    """A process that beats, and what it says at the moment."""

    def __init__(self, store: Store, worker_id: str, *trouble: str) -> None:
        self.says = Heartbeat(
            worker_id, "here", 1, 900.0, 7, 1, problems=tuple(map(make_problem, trouble)), keys_tag=KEYS.tag
        )
        self.port = CountingPort(store.workers)
        self.heartbeats = Heartbeats(self.port, lambda: self.says)


def silence(store: Store, worker_id: str, seconds: float) -> None:
    with write_transaction(store.engine) as connection:
        silent = sa.update(schema.workers).where(schema.workers.c.worker_id == worker_id)
        connection.execute(silent.values(last_heartbeat_at=schema.workers.c.last_heartbeat_at - seconds))


def test_it_is_introduced_once(store: Store) -> None:
    fellow = Fellow(store, "a")
    fellow.heartbeats.ensure_registered()
    fellow.heartbeats.ensure_registered()
    assert fellow.port.asked.count("beat") == 1
    assert [worker.heartbeat for worker in store.workers.list()] == [fellow.says]


def test_until_the_store_has_heard_it_introducing_fails(store: Store) -> None:
    """Or it would sign by a lease that no drain allows for."""
    fellow = Fellow(store, "a")
    fellow.port.away_from = 0
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            fellow.heartbeats.ensure_registered()
    fellow.port.away_from = None
    fellow.heartbeats.ensure_registered()
    fellow.port.away_from = 0
    fellow.heartbeats.ensure_registered()


def test_each_beat_says_what_is_true_then(store: Store) -> None:
    fellow = Fellow(store, "a")
    fellow.heartbeats.run_once()
    fellow.says = fellow.says._replace(keys_version=8, undecryptable=("k1",))
    fellow.heartbeats.run_once()
    assert [worker.heartbeat for worker in store.workers.list()] == [fellow.says]


def test_who_leaves_is_forgotten(store: Store) -> None:
    fellow, other = Fellow(store, "a"), Fellow(store, "b")
    fellow.heartbeats.run_once()
    other.heartbeats.run_once()
    fellow.heartbeats.deregister()
    assert [worker.heartbeat.worker_id for worker in store.workers.list()] == ["b"]


def test_everybody_knows_the_trouble_that_anybody_tells(store: Store) -> None:
    leader, fellow = Fellow(store, "a", "IVS is down", "full"), Fellow(store, "b", "full")
    leader.heartbeats.run_once()
    fellow.heartbeats.run_once()
    assert texts(fellow.heartbeats.problems()) == ["full", "IVS is down"]
    fellow.says = fellow.says._replace(problems=())
    assert texts(fellow.heartbeats.problems()) == ["IVS is down", "full"], "its own words are those of now"


def test_what_a_silent_fellow_said_is_no_news(store: Store) -> None:
    leader, fellow = Fellow(store, "a", "IVS is down"), Fellow(store, "b")
    leader.heartbeats.run_once()
    silence(store, "a", UNRESPONSIVE_AFTER_SECONDS - 1)
    fellow.heartbeats.run_once()
    assert texts(fellow.heartbeats.problems()) == ["IVS is down"]
    silence(store, "a", 2)
    fellow.heartbeats.run_once()
    assert texts(fellow.heartbeats.problems()) == []
    assert fellow.heartbeats.worker_counts(KEYS) == (1, 0)


def test_workers_are_counted_and_so_are_those_that_have_not_heard(store: Store) -> None:
    fellows = [Fellow(store, name) for name in "abc"]
    assert fellows[0].heartbeats.worker_counts(KEYS) == (0, 0)
    fellows[1].says = fellows[1].says._replace(keys_version=6)
    for fellow in fellows:
        fellow.heartbeats.run_once()
    assert fellows[2].heartbeats.worker_counts(KEYS) == (3, 1)
