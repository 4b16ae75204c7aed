"""Workers that may still sign with outdated keys, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Heartbeat, Worker
from tokensvc.keys.stale_workers import find_stale_workers

BEAT_AT = datetime(2026, 1, 1, tzinfo=UTC)
NEWEST = Version(7, "tag of 7")
OLDER = Version(6, "tag of 6")


def worker(keys: Version, lease_seconds: float, store_timeout_seconds: float = 5.0) -> Worker:
    text = Heartbeat("a:1:f00d", "a", 1, lease_seconds, keys.number, 1, store_timeout_seconds, keys_tag=keys.tag)
    return Worker(text, BEAT_AT, BEAT_AT)


@pytest.mark.parametrize(("lease_seconds", "store_timeout_seconds"), [(60.0, 5.0), (900.0, 60.0)])
def test_a_worker_with_older_keys_is_stale_for_its_own_maximum_staleness(
    lease_seconds: float, store_timeout_seconds: float
) -> None:
    behind = worker(OLDER, lease_seconds, store_timeout_seconds)
    until = BEAT_AT + timedelta(seconds=lease_seconds + store_timeout_seconds + CLOCK_SKEW_SECONDS)
    assert [text.until for text in find_stale_workers([behind], NEWEST, until - timedelta(seconds=1))] == [until]
    assert find_stale_workers([behind], NEWEST, until) == []


def test_workers_that_are_in_sync_or_never_sign_are_not_stale() -> None:
    assert find_stale_workers([worker(NEWEST, 900.0), worker(OLDER, 0.0)], NEWEST, BEAT_AT) == []


@pytest.mark.parametrize("keys", [Version(7, "another"), Version(8, "of a lost history")])
def test_a_worker_with_keys_from_before_a_restore_is_stale(keys: Version) -> None:
    assert [
        late.worker.heartbeat.keys_version for late in find_stale_workers([worker(keys, 900.0)], NEWEST, BEAT_AT)
    ] == [keys[0]]
