"""What is of no use any more is forgotten, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from tests.clocks import ManualClock
from tokensvc.adapters.sql import tables
from tokensvc.adapters.sql.engine import writing
from tokensvc.adapters.sql.store import Store
from tokensvc.core.lifecycle import StepKind
from tokensvc.loops.prune import JOURNAL_KEPT_DAYS, WORKERS_KEPT_SECONDS, Prune
from tokensvc.ports.workers import Heartbeat
from tokensvc.settings import Settings


def test_ended_steps_are_forgotten_after_their_time_and_open_ones_never(store: Store, clock: ManualClock) -> None:
    begun_at = clock.at()
    ended, open_ = (store.journal.begin(StepKind.IMPORT, key_id, "us-east-1", "why", begun_at) for key_id in "ab")
    store.journal.end(ended.id, "done", begun_at)
    clock.advance(timedelta(days=JOURNAL_KEPT_DAYS).total_seconds())
    Prune(store.journal, store.workers, clock).once()
    assert len(store.journal.history(None, 10)) == 2
    clock.advance(1)
    Prune(store.journal, store.workers, clock).once()
    assert store.journal.history(None, 10) == [open_]


def test_a_worker_is_forgotten_when_it_was_silent_for_longer_than_any_lease(store: Store, clock: ManualClock) -> None:
    [longest] = (m.le for m in Settings.model_fields["snapshot_lease_seconds"].metadata if hasattr(m, "le"))
    assert longest < WORKERS_KEPT_SECONDS
    for name in "ab":
        store.workers.beat(Heartbeat(name, "here", 1, 900.0, 1, 1))
    with writing(store.engine) as connection:
        silent = sa.update(tables.workers).where(tables.workers.c.worker_id == "a")
        connection.execute(silent.values(beat_at=tables.workers.c.beat_at - WORKERS_KEPT_SECONDS - 1))
    Prune(store.journal, store.workers, clock).once()
    assert [worker.heartbeat.worker_id for worker in store.workers.list()] == ["b"]
