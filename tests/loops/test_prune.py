"""What is of no use any more is forgotten, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from tests.adapters.sql.samples import EVERYONE, REACH, denial, revocation
from tests.clocks import AtTime, ManualClock
from tokensvc.adapters.sql import tables
from tokensvc.adapters.sql.engine import writing
from tokensvc.adapters.sql.store import Store
from tokensvc.core.lifecycle import StepKind
from tokensvc.core.revocation import Lane
from tokensvc.loops.prune import (
    AT_ONCE,
    DENIALS_KEPT_SECONDS,
    JOURNAL_KEPT_DAYS,
    REVOCATIONS_KEPT_DAYS,
    WORKERS_KEPT_SECONDS,
    Prune,
)
from tokensvc.ports.versions import Position
from tokensvc.ports.workers import Heartbeat
from tokensvc.settings import Settings


def prune(store: Store, clock: ManualClock) -> None:
    """As it is when the store's clock says what this one says."""
    versions = AtTime(store.versions, clock.now)
    Prune(store.journal, store.rotations, store.workers, store.revocations, store.denials, versions).once()


def test_ended_steps_are_forgotten_after_their_time_and_open_ones_never(store: Store, clock: ManualClock) -> None:
    begun_at = clock.at()
    ended, open_ = (store.journal.begin(StepKind.IMPORT, key_id, "us-east-1", "why", begun_at) for key_id in "ab")
    store.journal.end(ended.id, "done", begun_at)
    clock.advance(timedelta(days=JOURNAL_KEPT_DAYS).total_seconds())
    prune(store, clock)
    assert len(store.journal.history(None, 10)) == 2
    clock.advance(1)
    prune(store, clock)
    assert store.journal.history(None, 10) == [open_]


def test_rotations_that_were_asked_for_long_ago_are_forgotten_with_the_steps_that_they_led_to(
    store: Store, clock: ManualClock
) -> None:
    store.rotations.request("old", {"us-east-1": None}, clock.at(), "a test")
    clock.advance(timedelta(days=JOURNAL_KEPT_DAYS).total_seconds())
    store.rotations.request("new", {"us-east-1": None}, clock.at(), "a test")
    prune(store, clock)
    assert [wish.id for wish in store.rotations.newest(10)] == ["new", "old"]
    clock.advance(1)
    prune(store, clock)
    assert [wish.id for wish in store.rotations.newest(10)] == ["new"]


def test_a_worker_is_forgotten_when_it_was_silent_for_longer_than_any_lease(store: Store, clock: ManualClock) -> None:
    [longest] = (m.le for m in Settings.model_fields["snapshot_lease_seconds"].metadata if hasattr(m, "le"))
    assert longest < WORKERS_KEPT_SECONDS
    for name in "ab":
        store.workers.beat(Heartbeat(name, "here", 1, 900.0, 1, 1))
    with writing(store.engine) as connection:
        silent = sa.update(tables.workers).where(tables.workers.c.worker_id == "a")
        connection.execute(silent.values(beat_at=tables.workers.c.beat_at - WORKERS_KEPT_SECONDS - 1))
    prune(store, clock)
    assert [worker.heartbeat.worker_id for worker in store.workers.list()] == ["b"]


def test_revocations_that_ended_long_ago_are_forgotten_however_many_and_what_is_queued_never(
    store: Store, clock: ManualClock
) -> None:
    clock.wall = store.versions.read().now
    many = revocation("many", *(f"v{number}" for number in range(AT_ONCE + 50)))
    store.revocations.accept("b", [revocation("queued"), many], Lane.STORM, REACH)
    store.revocations.cancel("many", EVERYONE)
    clock.advance(timedelta(days=REVOCATIONS_KEPT_DAYS).total_seconds() - 60)
    prune(store, clock)
    assert store.revocations.get("many", EVERYONE)
    clock.advance(120)
    prune(store, clock)
    assert [left.id for left in store.revocations.list(EVERYONE, limit=10)] == ["queued"]


def test_denials_are_forgotten_an_hour_after_they_are_over(store: Store, clock: ManualClock) -> None:
    clock.wall = store.versions.read().now
    store.denials.add("b", [denial("short", int(clock.now()) + 60), denial("long")])
    clock.advance(60 + DENIALS_KEPT_SECONDS)
    prune(store, clock)
    assert len(store.denials.changed_since(Position(), 10).rows) == 2
    clock.advance(2)
    prune(store, clock)
    [left] = store.denials.changed_since(Position(), 10).rows
    assert left.digest == denial("long").digest
