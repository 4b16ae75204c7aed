"""Rows past their retention are deleted, and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.storage.samples import EVERYONE, LATER, MAX_STALENESS_SECONDS, channel, denial, revocation
from tests.support.audit import EVENT
from tests.support.clocks import AtTime, ManualClock
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.refresh_worker import CountingWorker
from tokensvc.audit.store import AuditFilter
from tokensvc.background.prune import (
    DELETE_BATCH_SIZE,
    DENIAL_RETENTION_SECONDS,
    JOURNAL_RETENTION_DAYS,
    REVOCATION_RETENTION_DAYS,
    WORKER_RETENTION_SECONDS,
    Prune,
)
from tokensvc.deployment.versions import Position
from tokensvc.deployment.workers import Heartbeat
from tokensvc.keys.lifecycle import StepKind
from tokensvc.revocations.model import Priority
from tokensvc.settings import Settings
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.channels import ABSENCE_RETENTION_SECONDS
from tokensvc.tokens.single_uses import RETENTION_SECONDS as SINGLE_USE_RETENTION_SECONDS


def prune(store: Store, clock: ManualClock) -> None:
    make_prune(store, clock).run_once()


def make_prune(store: Store, clock: ManualClock) -> Prune:
    """A pruning task without pauses; the store's time is that of `clock`."""
    versions = AtTime(store.versions, clock.now)
    return make_prune_with(store, store.channels, versions, clock, pause=lambda _seconds: None)


def test_a_spent_single_use_is_deleted_when_its_token_has_expired_by_any_clock(
    store: Store, clock: ManualClock
) -> None:
    clock.wall = store.versions.read().now
    assert store.single_uses.spend(b"digest")
    clock.advance(SINGLE_USE_RETENTION_SECONDS - 1)
    prune(store, clock)
    assert store.single_uses.is_spent(b"digest")
    clock.advance(10)
    prune(store, clock)
    assert not store.single_uses.is_spent(b"digest")


def make_prune_with(
    store: Store, channels: Any, versions: Any, clock: ManualClock, *, pause: Callable[[float], None]
) -> Prune:
    return Prune(
        journal=store.journal,
        rotation_requests=store.rotation_requests,
        workers=store.workers,
        revocations=store.revocations,
        denials=store.denials,
        channels=channels,
        single_uses=store.single_uses,
        audit=store.audit,
        audit_retention_days=365,
        versions=versions,
        clock=clock,
        pause=pause,
    )


def test_finished_steps_are_deleted_after_their_retention_and_unfinished_ones_never(
    store: Store, clock: ManualClock
) -> None:
    started_at = clock.at()
    finished, unfinished = (
        store.journal.start(StepKind.IMPORT, key_id, "us-east-1", "a test", started_at, event=EVENT) for key_id in "ab"
    )
    store.journal.finish(finished.id, "done", started_at)
    clock.advance(timedelta(days=JOURNAL_RETENTION_DAYS).total_seconds())
    prune(store, clock)
    assert len(store.journal.history(None, 10)) == 2
    clock.advance(1)
    prune(store, clock)
    assert store.journal.history(None, 10) == [unfinished]


def test_old_rotation_requests_are_deleted_with_their_steps(store: Store, clock: ManualClock) -> None:
    store.rotation_requests.request("old", {"us-east-1": None}, clock.at(), "a test", event=EVENT)
    clock.advance(timedelta(days=JOURNAL_RETENTION_DAYS).total_seconds())
    store.rotation_requests.request("new", {"us-east-1": None}, clock.at(), "a test", event=EVENT)
    prune(store, clock)
    assert [request.id for request in store.rotation_requests.newest(10)] == ["new", "old"]
    clock.advance(1)
    prune(store, clock)
    assert [request.id for request in store.rotation_requests.newest(10)] == ["new"]


def test_a_worker_is_deleted_when_it_was_unresponsive_for_longer_than_any_lease(
    store: Store, clock: ManualClock
) -> None:
    constraints = Settings.model_fields["snapshot_lease_seconds"].metadata
    [longest] = (constraint.le for constraint in constraints if hasattr(constraint, "le"))
    assert longest < WORKER_RETENTION_SECONDS
    for name in "ab":
        store.workers.record_heartbeat(Heartbeat(name, "here", 1, 900.0, 1, 1))
    with write_transaction(store.engine) as connection:
        update = sa.update(schema.workers).where(schema.workers.c.worker_id == "a")
        connection.execute(
            update.values(last_heartbeat_at=schema.workers.c.last_heartbeat_at - WORKER_RETENTION_SECONDS - 1)
        )
    prune(store, clock)
    assert [worker.heartbeat.worker_id for worker in store.workers.list()] == ["b"]


@pytest.mark.slow
def test_old_finished_revocations_are_deleted_and_queued_ones_never(store: Store, clock: ManualClock) -> None:
    clock.wall = store.versions.read().now
    many = revocation("many", *(f"v{number}" for number in range(DELETE_BATCH_SIZE + 50)))
    store.revocations.accept("b", [revocation("queued"), many], Priority.BULK, MAX_STALENESS_SECONDS, events=[EVENT])
    store.revocations.cancel("many", EVERYONE, event=EVENT)
    clock.advance(timedelta(days=REVOCATION_RETENTION_DAYS).total_seconds() - 60)
    prune(store, clock)
    assert store.revocations.get("many", EVERYONE)
    clock.advance(120)
    prune(store, clock)
    assert [row.id for row in store.revocations.list(EVERYONE, limit=10)] == ["queued"]


def test_denials_are_deleted_once_no_session_may_be_left_that_they_end(store: Store, clock: ManualClock) -> None:
    clock.wall = store.versions.read().now
    store.denials.add("b", [denial("short", int(clock.now()) + 60), denial("long")], event=EVENT)
    clock.advance(60 + DENIAL_RETENTION_SECONDS)
    prune(store, clock)
    assert len(store.denials.changed_since(Position(), 10).rows) == 2
    clock.advance(2)
    prune(store, clock)
    [remaining] = store.denials.changed_since(Position(), 10).rows
    assert remaining.digest == denial("long").digest


def record_absent_channels(store: Store, *names: str) -> None:
    """Record channels that existed when they were first checked and no longer exist."""
    store.channels.record([channel(name) for name in names])
    store.channels.record([channel(name, LATER, url=None) for name in names])


def channel_names(store: Store) -> set[str]:
    """The names of the channels that have a row."""
    return {row.arn.rpartition("/")[2] for row in store.channels.changed_since(Position(), 10_000).rows}


@pytest.mark.slow
def test_absent_channels_are_deleted_once_every_worker_could_read_their_absence(
    store: Store, clock: ManualClock
) -> None:
    pruning = make_prune(store, clock)
    store.channels.record([channel("existing")])
    record_absent_channels(store, *(f"absent{number}" for number in range(DELETE_BATCH_SIZE + 50)))
    assert pruning.run_once() == ABSENCE_RETENTION_SECONDS, "it runs again as soon as rows may be deleted"
    record_absent_channels(store, "recent")
    clock.advance(ABSENCE_RETENTION_SECONDS - 1)
    assert pruning.run_once() == pytest.approx(1)
    assert len(channel_names(store)) == DELETE_BATCH_SIZE + 52
    clock.advance(1)
    assert pruning.run_once() is None
    assert channel_names(store) == {"existing", "recent"}
    clock.advance(ABSENCE_RETENTION_SECONDS)
    pruning.run_once()
    assert channel_names(store) == {"existing"}


def test_no_wall_clock_decides_when_an_absent_channel_is_deleted(store: Store, clock: ManualClock) -> None:
    pruning = make_prune(store, clock)
    record_absent_channels(store, "a")
    pruning.run_once()
    clock.wall += 10 * ABSENCE_RETENTION_SECONDS
    pruning.run_once()
    assert channel_names(store) == {"a"}


def test_after_a_restore_the_retention_starts_anew(store: Store, clock: ManualClock) -> None:
    """Change numbers repeat after a restore: the same number may stand for other rows."""
    pruning = make_prune(store, clock)
    record_absent_channels(store, "a")
    pruning.run_once()
    with write_transaction(store.engine) as connection:
        restored = {"number": 1, "tag": "of the backup"}
        connection.execute(sa.update(schema.versions).where(schema.versions.c.name == "channels").values(restored))
        connection.execute(sa.delete(schema.version_history).where(schema.version_history.c.number > 1))
    clock.advance(ABSENCE_RETENTION_SECONDS)
    assert pruning.run_once() == ABSENCE_RETENTION_SECONDS
    assert channel_names(store) == {"a"}


def add_invented_channels(store: Store, count: int) -> None:
    """Add rows of channels that never existed, as earlier releases did for any ARN that a caller requested."""
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(schema.versions).where(schema.versions.c.name == "channels").values(number=count))
        for start in range(0, count, 10_000):
            connection.execute(
                sa.insert(schema.channels),
                [
                    {**channel(f"invented{number}", url=None)._asdict(), "version": number + 1}
                    for number in range(start, min(count, start + 10_000))
                ],
            )


@pytest.mark.slow
@pytest.mark.parametrize("count", [5_000, pytest.param(500_000, marks=pytest.mark.long)])
def test_invented_channels_are_deleted_in_batches_and_never_loaded(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock, count: int
) -> None:
    store = deployment.store
    add_invented_channels(store, count)
    store.channels.record([channel("existing")])
    worker.refresh.run_once()
    assert list(worker.refresh.current.channels) == [channel("existing").arn]
    batches: list[int] = []
    pauses: list[float] = []
    prune = store.channels.prune

    class ObservedChannels:
        """The store's channels; records how many rows each call deletes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store.channels, name)

        def prune(self, version: int, checked_before: datetime, limit: int) -> int:
            batches.append(prune(version, checked_before, limit))
            return batches[-1]

    pruning = make_prune_with(store, ObservedChannels(), store.versions, clock, pause=pauses.append)
    pruning.run_once()
    clock.advance(ABSENCE_RETENTION_SECONDS)
    pruning.run_once()
    assert sum(batches) == count
    assert max(batches) == DELETE_BATCH_SIZE
    assert len(pauses) == count // DELETE_BATCH_SIZE, "there is a pause after each batch"
    assert channel_names(store) == {"existing"}
    worker.take_calls()
    worker.refresh.run_once()
    assert list(worker.refresh.current.channels) == [channel("existing").arn]
    clock.advance(1)
    worker.take_calls()
    worker.refresh.run_once()
    assert worker.take_calls() == {"versions": ["read"]}


def test_audit_records_are_deleted_after_their_retention(store: Store, clock: ManualClock) -> None:
    store.audit.append([EVENT])
    clock.wall = store.versions.read().now + 364 * 86_400
    make_prune(store, clock).run_once()
    assert len(store.audit.list(AuditFilter(), limit=9)) == 1
    clock.wall += 2 * 86_400
    make_prune(store, clock).run_once()
    assert store.audit.list(AuditFilter(), limit=9) == []
