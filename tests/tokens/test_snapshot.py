"""A snapshot is a lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import OFFSET, require_fresh_at
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.errors import SnapshotStale
from tokensvc.tokens.snapshot import Snapshot, require_fresh


def test_a_snapshot_may_be_used_until_its_lease_ends() -> None:
    snapshot = Snapshot(refresh_started_at=100.0)
    require_fresh_at(snapshot, 100.0, 900)
    require_fresh_at(snapshot, 1000.0, 900)
    with pytest.raises(SnapshotStale, match="longer than its lease"):
        require_fresh_at(snapshot, 1000.001, 900)


def test_a_worker_that_never_reached_the_store_signs_nothing() -> None:
    for monotonic in (0.0, -5.0, 1e9):
        with pytest.raises(SnapshotStale, match="not reached the store"):
            require_fresh_at(Snapshot(), monotonic, 86_400)


@given(st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS))
def test_a_clock_error_within_the_skew_is_tolerated(error: float) -> None:
    require_fresh_at(Snapshot(refresh_started_at=0.0, clock_error_seconds=error), 1.0, 900)


@pytest.mark.parametrize(("error", "message"), [(7.0, r"\+7 seconds"), (-6.0, "-6 seconds"), (5.01, r"\+5 seconds")])
def test_a_larger_clock_error_is_reported(error: float, message: str) -> None:
    with pytest.raises(SnapshotStale, match=message):
        require_fresh_at(Snapshot(refresh_started_at=0.0, clock_error_seconds=error), 1.0, 900)


@given(st.floats(-20, 20), st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS), st.floats(0, 900))
def test_a_clock_that_moved_since_the_refresh_is_tolerated_within_the_skew(
    moved: float, error: float, age: float
) -> None:
    snapshot = Snapshot(refresh_started_at=0.0, wall_offset_seconds=OFFSET, clock_error_seconds=error)
    now = age + OFFSET + moved
    moved = now - age - OFFSET  # as rounded
    if max(abs(moved), abs(moved + error)) > CLOCK_SKEW_SECONDS:
        with pytest.raises(SnapshotStale, match="clock"):
            require_fresh(snapshot, now, age, 900)
    else:
        require_fresh(snapshot, now, age, 900)


def test_the_offset_to_the_stores_clock_is_independent_of_the_wall_clock() -> None:
    snapshot = Snapshot(wall_offset_seconds=OFFSET, clock_error_seconds=3.0)
    assert snapshot.store_offset_seconds == OFFSET - 3
