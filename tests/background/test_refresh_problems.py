"""A refresh while the store fails, while clocks are wrong, and after rows were deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.audit import EVENT
from tests.support.clocks import START, AtTime, ManualClock, require_fresh_at
from tests.support.in_memory_deployment import EAST, InMemoryDeployment
from tests.support.refresh_worker import POLICY, CountingWorker, channel, stored_secret
from tokensvc.background import refresh as refresh_module
from tokensvc.deployment.versions import Position, StoreVersions, Version, Versioned, Versions
from tokensvc.errors import SnapshotStale, StoreUnavailable
from tokensvc.tokens.channels import FULL_RELOAD_AFTER_SECONDS
from tokensvc.tokens.snapshot import Snapshot

pytestmark = pytest.mark.slow


def test_an_unavailable_store_leaves_the_snapshot_unchanged(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    deployment.generate()
    worker.refresh.run_once()
    before = worker.refresh.current
    for port in worker.ports.values():
        port.unavailable_from = 0
    clock.advance(60)
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    assert worker.refresh.current is before
    require_fresh_at(before, before.refresh_started_at + 900, 900)
    with pytest.raises(SnapshotStale):
        require_fresh_at(before, before.refresh_started_at + 901, 900)


@pytest.mark.parametrize("unavailable", ["deployment", "keys", "callers", "channels"])
def test_a_store_that_fails_during_a_refresh_changes_and_loses_nothing(
    deployment: InMemoryDeployment, worker: CountingWorker, unavailable: str
) -> None:
    worker.refresh.run_once()
    before = worker.refresh.current
    deployment.generate()
    deployment.store.callers.add("shop", POLICY, stored_secret("one"), EVENT)
    deployment.store.channels.record([channel(1)])
    deployment.store.deployment.set_max_ttl_seconds(1234, event=EVENT)
    worker.ports[unavailable].unavailable_from = 0
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    assert worker.refresh.current is before
    worker.ports[unavailable].unavailable_from = None
    worker.refresh.run_once()
    after = worker.refresh.current
    assert after.max_ttl_seconds == 1234
    assert set(after.secrets) == {"one"}
    assert set(after.channels) == {channel(1).arn}
    assert any(keys.active for keys in after.keyring.region_keys.values())


def test_channels_read_before_the_store_failed_are_not_lost(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    """The first page was read and the second was not: the next refresh must read both."""
    for start in (0, 1000, 2000):
        deployment.store.channels.record([channel(number) for number in range(start, start + 1000)])
    worker.ports["channels"].unavailable_from = 1
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    worker.ports["channels"].unavailable_from = None
    worker.refresh.run_once()
    assert len(worker.refresh.current.channels) == 3000


def test_channels_of_one_version_are_never_split(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    """One version has more rows than a page holds, with other versions before and after."""
    deployment.store.channels.record([channel(number) for number in range(700)])
    deployment.store.channels.record([channel(number) for number in range(700, 3200)])
    deployment.store.channels.record([channel(3200)])
    assert refresh_module._CHANNELS_PAGE_SIZE < 2500
    worker.refresh.run_once()
    assert len(worker.refresh.current.channels) == 3201
    deployment.store.channels.record([channel(5, url=None)._replace(checked_at=channel(9999).checked_at)])
    worker.refresh.run_once()
    assert channel(5).arn not in worker.refresh.current.channels
    assert len(worker.refresh.current.channels) == 3200


@given(st.integers(1, 6), st.lists(st.integers(1, 5), max_size=8))
def test_a_reader_that_continues_from_the_last_version_reads_every_row(
    migrated: Path, limit: int, sizes: list[int]
) -> None:
    """The contract of `changed_since`, for any page size and any number of rows per version."""
    deployment = InMemoryDeployment(migrated, Path("unused"))
    written = set()
    for version, size in enumerate(sizes):
        rows = [channel(100 * version + number) for number in range(size)]
        deployment.store.channels.record(rows)
        written |= {row.arn for row in rows}
    seen: list[str] = []
    page = deployment.store.channels.changed_since(Position(), limit)
    while page.rows:
        assert [row.version for row in page.rows] == sorted(row.version for row in page.rows)
        seen += [row.arn for row in page.rows]
        page = deployment.store.channels.changed_since(page.position, limit)
    assert sorted(seen) == sorted(written), "each row was read exactly once"
    deployment.store.close()


class DelayedVersions:
    """Reads the store's clock `before` seconds after the query starts and returns `after` seconds later; the store's
    clock is `ahead` of the worker's."""

    def __init__(self, port: Versions, clock: ManualClock, before: float, after: float, ahead: float) -> None:
        self._port, self._clock = port, clock
        self._before, self._after, self._ahead = before, after, ahead

    def check_history(self, seen: Mapping[Versioned, Version]) -> None:
        self._port.check_history(seen)

    def read(self) -> StoreVersions:
        self._clock.advance(self._before)
        versions = self._port.read()._replace(now=self._clock.now() + self._ahead)
        self._clock.advance(self._after)
        return versions


TIMES = st.floats(0, 5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TIMES, after=TIMES, ahead=st.floats(-20, 20))
def test_the_clock_error_has_the_right_sign_and_ignores_slow_responses(
    worker: CountingWorker,
    deployment: InMemoryDeployment,
    clock: ManualClock,
    before: float,
    after: float,
    ahead: float,
) -> None:
    """Positive when the worker's clock is ahead. A difference that the query's duration can explain is not an error."""
    worker.refresh.versions = DelayedVersions(deployment.store.versions, clock, before, after, ahead)
    worker.refresh.run_once()
    error_seconds = worker.refresh.current.clock_error_seconds
    certain = ahead - after if ahead > after else ahead + before if ahead < -before else 0.0
    assert error_seconds == pytest.approx(-certain, abs=1e-3)


def test_a_worker_with_a_wrong_clock_signs_nothing(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    deployment.generate(EAST)
    worker.refresh.versions = AtTime(deployment.store.versions, lambda: START)
    for error_seconds in (6.5, -6.5):
        clock.wall = START + error_seconds
        worker.refresh.run_once()
        assert worker.refresh.current.clock_error_seconds == pytest.approx(error_seconds, abs=0.5)
        with pytest.raises(SnapshotStale, match="clock"):
            require_fresh_at(worker.refresh.current, clock.monotonic(), 900)
    clock.wall = START
    worker.refresh.run_once()
    require_fresh_at(worker.refresh.current, clock.monotonic(), 900)


def test_a_worker_starts_with_a_snapshot_that_signs_nothing(worker: CountingWorker, clock: ManualClock) -> None:
    assert worker.refresh.current == Snapshot()
    with pytest.raises(SnapshotStale):
        require_fresh_at(worker.refresh.current, clock.monotonic(), 86_400)


def delete_channel(deployment: InMemoryDeployment, number: int) -> None:
    """Record that a channel no longer exists, and delete its row."""
    at = channel(9999).checked_at
    version = deployment.store.channels.record([channel(number, url=None)._replace(checked_at=at)])
    assert deployment.store.channels.prune(version, at + timedelta(seconds=1), 10) == 1


def test_a_worker_that_has_read_nothing_for_long_misses_no_deleted_channel(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    """The row that recorded the absence was deleted in the meantime, so no newer change shows it."""
    deployment.store.channels.record([channel(1), channel(2)])
    worker.refresh.run_once()
    delete_channel(deployment, 1)
    clock.advance(FULL_RELOAD_AFTER_SECONDS + 1)
    worker.refresh.run_once()
    assert set(worker.refresh.current.channels) == {channel(2).arn}


def test_a_failed_attempt_does_not_count_as_a_read(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    deployment.store.channels.record([channel(1), channel(2)])
    worker.refresh.run_once()
    deployment.store.channels.record([channel(3)])
    clock.advance(FULL_RELOAD_AFTER_SECONDS / 2)
    worker.ports["channels"].unavailable_from = 0
    worker.take_calls()
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    delete_channel(deployment, 1)
    clock.advance(FULL_RELOAD_AFTER_SECONDS / 2 + 1)
    worker.ports["channels"].unavailable_from = None
    worker.refresh.run_once()
    assert set(worker.refresh.current.channels) == {channel(2).arn, channel(3).arn}


def test_deleted_rows_cause_no_further_reads(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    """The highest change numbers may have no rows left."""
    deployment.store.channels.record([channel(1)])
    delete_channel(deployment, 1)
    for _ in range(2):
        worker.take_calls()
        worker.refresh.run_once()
    assert "channels" not in worker.take_calls()
    assert not worker.refresh.current.channels
