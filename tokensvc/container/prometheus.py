"""Metrics in the formats of Prometheus; several workers use the client library's multiprocess mode.

Invariants
- With several workers, `PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported.
- The hot path only appends outcomes and times to a queue; `flush` counts them, a few times a second and before every
  rendering.
- A counter never falls while any worker lives: what a worker has counted is kept when it ends (`worker_files.py`).
- Exemplars, which only OpenMetrics has, are those of the worker that answers: the library keeps none in files.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from tokensvc.container import worker_files
from tokensvc.container.exemplars import Exemplars
from tokensvc.container.metric_families import CALLERS_MAX, ISSUERS_MAX, OTHER, BoundedLabel, MetricFamilies
from tokensvc.container.process_metrics import ProcessMetrics
from tokensvc.metrics import HandledRequestTuple

_T = TypeVar("_T")
MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
SAMPLE_SECONDS = 1.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE = "-"
_OPENMETRICS = "application/openmetrics-text"
UNAUTHENTICATED = "-"
"""The caller of a request that was not authenticated. No caller can have this name."""


class PrometheusMetrics:
    """The metrics of one process."""

    def __init__(
        self,
        take_dropped_lines: Callable[[], Mapping[str, int]] = dict,
        *,
        worker: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`worker` is the number of this process among those of its machine."""
        self._take_dropped_lines = take_dropped_lines
        self._monotonic = monotonic
        directory = os.environ.get(MULTIPROCESS_DIRECTORY)
        self._directory = Path(directory) if directory else None
        self._families = families = MetricFamilies()
        self._registry = families.registry
        self._exemplars = Exemplars(families.http_seconds)
        self._callers, self._issuers = BoundedLabel(CALLERS_MAX), BoundedLabel(ISSUERS_MAX)
        self._samplers: list[Callable[[], None]] = [ProcessMetrics(families, worker).sample]
        self._sampled_at = float("-inf")
        self._pending_requests: deque[HandledRequestTuple] = deque()
        self._pending_issued: deque[tuple[str, float]] = deque()
        self._pending_failed: deque[tuple[str, str]] = deque()
        self._pending_lanes: deque[int] = deque()
        self._pending_fallbacks: deque[tuple[str, int]] = deque()
        self._pending_verifications: deque[bool] = deque()
        self.http_request = self._pending_requests.append
        self.tokens_issued = self._pending_issued.extend
        self.lanes_filled = self._pending_lanes.append
        self.signature_verified = self._pending_verifications.append

    def flush(self) -> None:
        self._count_requests()
        self._count_tokens()
        families = self._families
        if lanes := list(_drain(self._pending_lanes)):
            families.signer_lanes.observe_all(lanes)
        for reason, count in _drain(self._pending_fallbacks):
            families.signer_fallbacks.labels(reason).inc(count)
        for passed in _drain(self._pending_verifications):
            families.signer_verifications.labels("passed" if passed else "failed").inc()
        for reason, lines in self._take_dropped_lines().items():
            families.log_lines_dropped.labels(reason).inc(lines)
        if self._monotonic() >= self._sampled_at + SAMPLE_SECONDS:
            self._sample()

    def _count_requests(self) -> None:
        by_series: dict[tuple[str, str, int], list[float]] = {}
        for request in _drain(self._pending_requests):
            series = request[2], request[1], request[3]
            by_series.setdefault(series, []).append(request[8])
            if request[10]:
                self._exemplars.add(_labels(*series), request[8], request[9])
        for series, seconds in by_series.items():
            self._families.http_seconds.labels(*_labels(*series)).observe_all(seconds)

    def _count_tokens(self) -> None:
        issued = list(_drain(self._pending_issued))
        outcomes = Counter((caller, "issued") for caller, _ in issued)
        outcomes.update(_drain(self._pending_failed))
        for (caller, outcome), times in outcomes.items():
            name = self._callers.of(caller) if caller else UNAUTHENTICATED
            self._families.token_requests.labels(name, outcome).inc(times)
        if issued:
            self._families.issue_seconds.observe_all([seconds for _, seconds in issued])

    def sample_with(self, sample: Callable[[], None]) -> None:
        self._samplers.append(sample)

    def _sample(self) -> None:
        self._sampled_at = self._monotonic()
        for sample in self._samplers:
            sample()

    def token_request_failed(self, caller: str, code: str) -> None:
        self._pending_failed.append((caller, code))

    def signer_fallback(self, reason: str, count: int) -> None:
        self._pending_fallbacks.append((reason, count))

    def http_connections(self, count: int) -> None:
        self._families.http_connections.set(count)

    def event_loop_lag(self, seconds: float) -> None:
        self._families.loop_lag.observe(seconds)

    def rate_limited(self, limit: str) -> None:
        self._families.rate_limited.labels(limit).inc()

    def playback_authorized(self, outcome: str) -> None:
        self._families.playback_authorizations.labels(outcome).inc()

    def signer_chosen(self, name: str, fallback_reason: str) -> None:
        self._families.signer_info.labels(name, fallback_reason).set(1)

    def build(self, version: str, commit: str, python: str, signer: str) -> None:
        self._families.build_info.labels(version, commit, python, signer).set(1)

    def store_transaction(self, mode: str, seconds: float, wait_seconds: float | None) -> None:
        self._families.transaction_seconds.labels(mode).observe(seconds)
        if wait_seconds is not None:
            self._families.connection_wait.observe(wait_seconds)

    def store_failed(self, code: str) -> None:
        self._families.store_errors.labels(code).inc()

    def store_connections(self, in_use: int, connections_max: int) -> None:
        self._families.store_connections.set(in_use)
        self._families.store_connections_max.set(connections_max)

    def ivs_request(self, operation: str, code: str, seconds: float) -> None:
        self._families.ivs_requests.labels(operation, code).inc()
        self._families.ivs_seconds.labels(operation).observe(seconds)

    def task_failed(self, task: str) -> None:
        self._families.task_failures.labels(task).inc()

    def snapshot_age(self, seconds: float) -> None:
        self._families.snapshot_age.set(seconds)

    def clock_skew(self, seconds: float) -> None:
        self._families.clock_skew.set(seconds)

    def keys(self, region: str, active_age_seconds: float | None, slots_used: int) -> None:
        if active_age_seconds is not None:
            self._families.key_age.labels(region).set(active_age_seconds)
        self._families.key_slots.labels(region).set(slots_used)

    def signing_key_available(self, region: str, is_available: bool) -> None:
        self._families.signing_key_available.labels(region).set(is_available)

    def rotation(self, is_leader: bool, problems: Mapping[str, int]) -> None:
        self._families.rotation_leader.set(is_leader)
        for region, count in problems.items():
            self._families.rotation_problems.labels(region).set(count)

    def overdue(self, region: str, rotation_seconds: float, drain_seconds: float) -> None:
        self._families.rotation_overdue.labels(region).set(rotation_seconds)
        self._families.drain_overdue.labels(region).set(drain_seconds)

    def workers(self, active: int, stale: int) -> None:
        self._families.workers.set(active)
        self._families.workers_stale.set(stale)

    def revocation_queue(self, depth: int, oldest_age_seconds: float) -> None:
        self._families.queue_depth.set(depth)
        self._families.queue_oldest_age.set(oldest_age_seconds)

    def revocations_dispatched(self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int]) -> None:
        for outcome, count in (("sent", sent), ("failed", failed), ("deferred", deferred)):
            self._families.revocations.labels(outcome).inc(count)
        for code, count in errors_by_code.items():
            self._families.revocation_errors.labels(code).inc(count)

    def audit_queue(self, depth: int, lag_seconds: float) -> None:
        self._families.audit_queue_depth.set(depth)
        self._families.audit_lag.set(lag_seconds)

    def audit_events_dropped(self, count: int) -> None:
        self._families.audit_events_dropped.inc(count)

    def audit_lines_lost(self, count: int) -> None:
        self._families.audit_lines_lost.inc(count)

    def issuer_keys(self, issuer: str, age_seconds: float) -> None:
        self._families.issuer_keys_age.labels(self._issuers.of(issuer)).set(age_seconds)

    def issuer_keys_fetched(self, issuer: str, is_fetched: bool) -> None:
        outcome = "fetched" if is_fetched else "failed"
        self._families.issuer_fetches.labels(self._issuers.of(issuer), outcome).inc()

    def limiter_decided(self, seconds: float) -> None:
        self._families.limiter_seconds.observe(seconds)

    def limiter_failed(self, reason: str) -> None:
        self._families.limiter_failures.labels(reason).inc()

    def policy_hook_decided(self, seconds: float) -> None:
        self._families.policy_hook_seconds.observe(seconds)

    def policy_hook_failed(self, reason: str) -> None:
        self._families.policy_hook_failures.labels(reason).inc()

    def spans_dropped(self, reason: str, count: int) -> None:
        self._families.spans_dropped.labels(reason).inc(count)

    def render(self) -> bytes:
        """The metrics of all workers in Prometheus's text format."""
        return self.exposition("")[0]

    def exposition(self, accept: str) -> tuple[bytes, str]:
        self.flush()
        self._sample()
        encode, content_type = _format(accept)
        if self._directory is None:
            return encode(self._exemplars.of(self._registry)), content_type
        registry = CollectorRegistry()
        registry.register(worker_files.WorkerFilesCollector(self._directory))
        return encode(self._exemplars.of(registry)), content_type


def _format(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """How to write the metrics for this Accept header, and the content type. The library's own choice fails for a
    version that is not a number."""
    if any(entry.partition(";")[0].strip() == _OPENMETRICS for entry in accept.split(",")):
        return partial(openmetrics.generate_latest, version="1.0.0"), openmetrics.CONTENT_TYPE_LATEST
    return generate_latest, CONTENT_TYPE_PLAIN_0_0_4


def _labels(route: str, method: str, status: int) -> tuple[str, str, str]:
    return OTHER if route == _NO_ROUTE else route, method if method in _METHODS else OTHER, str(status)


def _drain(pending: deque[_T]) -> Iterator[_T]:
    """Remove and yield what is pending now. Safe when two threads drain at the same time: each gets a part."""
    with suppress(IndexError):
        for _ in range(len(pending)):
            yield pending.popleft()
