"""Metrics that are read from what a process holds: its snapshot, its key sets, its queue, its connections.

Invariants
- Reading them takes no lock that a request may wait for.
- What is no longer there is not reported as it last was: a gauge cannot be withdrawn while several workers share their
  metrics, so it gets the value that means that nothing is wrong.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence

import tokensvc
from tokensvc.clock import Clock
from tokensvc.commit import source_commit
from tokensvc.metrics import Metrics
from tokensvc.storage.engine import Observe, Transaction, observe_transactions, pool_usage
from tokensvc.storage.store import Store
from tokensvc.tokens.snapshot import Snapshot


class SnapshotMetrics:
    """What a worker's snapshot says about keys and clocks."""

    def __init__(self, metrics: Metrics, clock: Clock, regions: Sequence[str]) -> None:
        """`regions` are those that are configured to hold keys."""
        self._metrics = metrics
        self._clock = clock
        self._regions = regions
        self._reported: set[str] = set()

    def refreshed(self, snapshot: Snapshot) -> None:
        """Report the snapshot that a refresh has left, whether the refresh succeeded or not."""
        self._metrics.snapshot_age(self._clock.monotonic() - snapshot.refresh_started_at)
        self._metrics.clock_skew(snapshot.clock_error_seconds)
        now = self._clock.now()
        available: dict[str, bool] = {}
        for account_region, keys in snapshot.keyring.region_keys.items():
            region, active = account_region.region, keys.active
            age = now - active.activated_at.timestamp() if active and active.activated_at else None
            self._metrics.keys(region, age, len(keys.verification_keys))
            if active or keys.verification_keys or region in self._regions:
                can_sign = active is not None and now <= active.not_after
                available[region] = available.get(region, True) and can_sign
        for region in self._regions:
            available.setdefault(region, False)
        for region in self._reported - available.keys():
            self._metrics.signing_key_available(region, True)
        for region, can_sign in available.items():
            self._metrics.signing_key_available(region, can_sign)
        self._reported |= available.keys()


class IssuerKeyAges:
    """The ages of the key sets of issuers of bearer tokens."""

    def __init__(self, read_ages: Callable[[], Mapping[str, float]], metrics: Metrics) -> None:
        self._read_ages = read_ages
        self._metrics = metrics
        self._reported: set[str] = set()

    def sample(self) -> None:
        """Report them."""
        ages = self._read_ages()
        for issuer in self._reported | ages.keys():
            self._metrics.issuer_keys(issuer, ages.get(issuer, 0.0))
        self._reported |= ages.keys()


def measure_store(store: Store, metrics: Metrics, trace: Observe = lambda _transaction: None) -> None:
    """Measure the transactions of a store, and its pool of connections. `trace` gets the transactions too."""

    def observe(transaction: Transaction) -> None:
        trace(transaction)
        metrics.store_transaction(transaction.mode, transaction.seconds, transaction.wait_seconds)
        if transaction.error_code:
            metrics.store_failed(transaction.error_code)

    observe_transactions(store.engine, observe)
    metrics.sample_with(lambda: metrics.store_connections(*pool_usage(store.engine)))


def report_build(metrics: Metrics, signer: str = "") -> None:
    """Report what runs in this process: with the first sample, because a checkout has to ask git for its commit."""
    metrics.sample_with(lambda: metrics.build(tokensvc.__version__, source_commit(), platform.python_version(), signer))
