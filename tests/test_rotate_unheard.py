"""Who may still sign with older keys: until when its own settings let it, and nobody who never signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS
from tokensvc.ports.workers import Heartbeat, Worker
from tokensvc.rotate.unheard import unheard

BEAT_AT = datetime(2026, 1, 1, tzinfo=UTC)
NEWEST = 7


def worker(keys_version: int, lease_seconds: float, store_timeout_seconds: float = 5.0) -> Worker:
    return Worker(
        Heartbeat("a:1:f00d", "a", 1, lease_seconds, keys_version, 1, store_timeout_seconds), BEAT_AT, BEAT_AT
    )


@pytest.mark.parametrize(("lease_seconds", "store_timeout_seconds"), [(60.0, 5.0), (900.0, 60.0)])
def test_a_worker_that_told_of_older_keys_may_sign_with_them_for_its_own_reach(
    lease_seconds: float, store_timeout_seconds: float
) -> None:
    behind = worker(NEWEST - 1, lease_seconds, store_timeout_seconds)
    until = BEAT_AT + timedelta(seconds=lease_seconds + store_timeout_seconds + CLOCK_SKEW_SECONDS)
    assert [told.until for told in unheard([behind], NEWEST, until - timedelta(seconds=1))] == [until]
    assert unheard([behind], NEWEST, until) == []


def test_one_that_has_heard_and_one_that_never_signs_are_left_out() -> None:
    assert unheard([worker(NEWEST, 900.0), worker(NEWEST - 1, 0.0)], NEWEST, BEAT_AT) == []
