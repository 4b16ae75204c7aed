"""What is read from a snapshot, from key sets and from the store, and what happens when it is gone."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.container.test_prometheus import samples
from tests.support.clocks import START, ManualClock
from tokensvc.aws.arn import AccountRegion
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.container.sampled_metrics import IssuerKeyAges, SnapshotMetrics, measure_store
from tokensvc.errors import StoreUnavailable
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.store import open_store
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.snapshot import Snapshot

EAST, WEST = "us-east-1", "us-west-2"
PREPARED: Any = object()
PUBLIC: Any = object()


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics()


def region_keys(*, active: bool = True, held: bool = True, not_after: float = float("inf")) -> RegionKeys:
    key = SigningKey("key-1", PREPARED, 3600, datetime.fromtimestamp(START - 60, UTC), not_after) if active else None
    return RegionKeys(key, {"key-1": PUBLIC} if held else {})


def snapshot(**regions: RegionKeys) -> Snapshot:
    keys = {AccountRegion("1" * 12, name.replace("_", "-")): keys for name, keys in regions.items()}
    return Snapshot(keyring=Keyring(keys), clock_error_seconds=-2.5, refresh_started_at=999.0)


def available(metrics: PrometheusMetrics) -> dict[str, float]:
    name = "tokensvc_signing_key_available{"
    return {key.split('"')[1]: value for key, value in samples(metrics.render()).items() if key.startswith(name)}


def test_a_region_without_a_key_that_can_sign_is_reported(metrics: PrometheusMetrics) -> None:
    clock = ManualClock()
    reported = SnapshotMetrics(metrics, clock, [EAST])
    reported.refreshed(snapshot())
    assert available(metrics) == {EAST: 0}, "a region that is configured needs a key"
    reported.refreshed(snapshot(us_east_1=region_keys(), us_west_2=region_keys(active=False)))
    assert available(metrics) == {EAST: 1, WEST: 0}
    reported.refreshed(snapshot(us_east_1=region_keys(not_after=START - 1), us_west_2=region_keys()))
    assert available(metrics) == {EAST: 0, WEST: 1}, "a retiring key signs no longer than is safe"


def test_a_region_that_is_given_up_is_not_a_problem(metrics: PrometheusMetrics) -> None:
    reported = SnapshotMetrics(metrics, ManualClock(), [EAST])
    reported.refreshed(snapshot(us_east_1=region_keys(), us_west_2=region_keys(active=False)))
    reported.refreshed(snapshot(us_east_1=region_keys(), us_west_2=region_keys(active=False, held=False)))
    assert available(metrics) == {EAST: 1, WEST: 1}


def test_the_ages_of_snapshot_and_key_and_the_skew_of_the_clock_are_reported(metrics: PrometheusMetrics) -> None:
    SnapshotMetrics(metrics, ManualClock(), []).refreshed(snapshot(us_east_1=region_keys()))
    found = samples(metrics.render())
    assert found["tokensvc_clock_skew_seconds"] == -2.5
    assert found["tokensvc_snapshot_age_seconds"] == ManualClock().monotonic() - 999
    assert found[f'tokensvc_active_key_age_seconds{{region="{EAST}"}}'] == 60


def test_the_key_set_of_an_issuer_that_is_no_longer_used_is_not_old(metrics: PrometheusMetrics) -> None:
    ages = {"login.example.com": 30.0, "sso.example.net": 700.0}
    sampler = IssuerKeyAges(lambda: ages, metrics)
    metrics.sample_with(sampler.sample)
    name = "tokensvc_issuer_keys_age_seconds{issuer="
    assert samples(metrics.render())[f'{name}"sso.example.net"}}'] == 700
    del ages["sso.example.net"]
    found = samples(metrics.render())
    assert (found[f'{name}"sso.example.net"}}'], found[f'{name}"login.example.com"}}']) == (0, 30)


def test_transactions_are_measured_by_mode_with_their_errors(
    migrated: Path, tmp_path: Path, metrics: PrometheusMetrics
) -> None:
    shutil.copy(migrated, tmp_path / "store.db")
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    measure_store(store, metrics)
    with read_transaction(store.engine):
        in_use = samples(metrics.render())["tokensvc_store_connections_in_use"]
    with write_transaction(store.engine):
        pass
    with suppress(StoreUnavailable), write_transaction(store.engine):
        raise StoreUnavailable("the store cannot be reached")
    with suppress(ValueError), read_transaction(store.engine):
        raise ValueError("not the store's fault")
    found = samples(metrics.render())
    count = "tokensvc_store_transaction_duration_seconds_count"
    assert [found[f'{count}{{mode="{mode}"}}'] for mode in ("read", "write")] == [2, 2]
    assert found["tokensvc_store_connection_wait_seconds_count"] == 4
    assert found['tokensvc_store_errors_total{code="store_unavailable"}'] == 1
    assert (in_use, found["tokensvc_store_connections_in_use"]) == (1, 0)
    assert found["tokensvc_store_connections_max"] == 16
    store.close()
