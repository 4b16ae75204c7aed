"""Metrics in Prometheus's text format; several workers use the client library's multiprocess mode.

Invariants
- With several workers, `PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported.
- The hot path only appends outcomes and times to a queue; `flush` counts them, a few times a second and before every
  rendering.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter as CollectionsCounter
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

_T = TypeVar("_T")
MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
MOST_RECENT: Final = "livemostrecent"
"""For what every worker reads from the store: a worker that hangs, or is cut off, shows its last value for ever."""
LANE_BUCKETS = (3, 4, 5, 6, 7, 8)
ISSUE_BUCKETS = (0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)


class _Histogram(Histogram):
    """Records many observations at the cost of a few: each by itself costs 1 µs, and more with several workers."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """Do what `observe` does for each of the amounts."""
        self._sum.inc(sum(amounts))
        ordered, counted = sorted(amounts), 0
        for bucket, bound in zip(self._buckets, self._upper_bounds, strict=True):
            up_to_here = bisect_right(ordered, bound, counted)
            if up_to_here > counted:
                bucket.inc(up_to_here - counted)
            counted = up_to_here


class PrometheusMetrics:
    """The metrics of one process."""

    def __init__(self, take_dropped_lines: Callable[[], Mapping[str, int]] = dict) -> None:
        self._take_dropped_lines = take_dropped_lines
        self._registry = registry = CollectorRegistry()
        self._pending_issued: deque[float] = deque()
        self._pending_failed: deque[str] = deque()
        self.tokens_issued = self._pending_issued.extend
        self.token_request_failed = self._pending_failed.append
        self._pending_lanes: deque[int] = deque()
        self._pending_fallbacks: deque[tuple[str, int]] = deque()
        self._pending_verifications: deque[bool] = deque()
        self.lanes_filled = self._pending_lanes.append
        self.signature_verified = self._pending_verifications.append
        self._token_requests = Counter(
            "tokensvc_token_requests",
            "Token requests by outcome: issued, or the error code",
            ["outcome"],
            registry=registry,
        )
        self._issue_seconds = _Histogram(
            "tokensvc_token_issue_duration_seconds", "Time to issue one token", buckets=ISSUE_BUCKETS, registry=registry
        )
        self._ivs_requests = Counter(
            "tokensvc_ivs_requests", "Requests to IVS by operation and result", ["operation", "code"], registry=registry
        )
        self._task_failures = Counter(
            "tokensvc_background_failures", "Failed runs of background tasks", ["task"], registry=registry
        )
        self._snapshot_age = Gauge(
            "tokensvc_snapshot_age_seconds",
            "Age of the oldest worker's snapshot",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._key_age = Gauge(
            "tokensvc_active_key_age_seconds",
            "Time since the active key became active",
            ["region"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._key_slots = Gauge(
            "tokensvc_key_slots_used",
            "Key pairs of this deployment that are imported in IVS",
            ["region"],
            registry=registry,
            multiprocess_mode="livemax",
        )

        self._rotation_leader = Gauge(
            "tokensvc_rotation_leader",
            "1 if a process on this machine is the rotation leader",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._rotation_problems = Gauge(
            "tokensvc_rotation_problems",
            "Problems that block key rotation, as the rotation leader reports them",
            ["region"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._workers = Gauge(
            "tokensvc_workers",
            "Workers of the deployment with a recent heartbeat",
            registry=registry,
            multiprocess_mode=MOST_RECENT,
        )
        self._workers_stale = Gauge(
            "tokensvc_workers_stale",
            "Workers with a recent heartbeat that have not loaded the current keys",
            registry=registry,
            multiprocess_mode=MOST_RECENT,
        )

        self._queue_depth = Gauge(
            "tokensvc_revocation_queue_depth",
            "Viewer revocations that are not yet delivered to IVS",
            registry=registry,
            multiprocess_mode=MOST_RECENT,
        )
        self._queue_oldest_age = Gauge(
            "tokensvc_revocation_queue_oldest_age_seconds",
            "Time since the oldest queued revocation was accepted",
            registry=registry,
            multiprocess_mode=MOST_RECENT,
        )
        self._revocations = Counter(
            "tokensvc_revocations",
            "Viewer revocations dispatched to IVS, by outcome: sent, failed, deferred",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("sent", "failed", "deferred"):  # from 0, so that `increase` sees the first one
            self._revocations.labels(outcome)
        self._revocation_errors = Counter(
            "tokensvc_revocation_errors",
            "Viewer revocations that IVS did not accept, by error code",
            ["code"],
            registry=registry,
        )
        self._signer_info = Gauge(
            "tokensvc_signer_info",
            "1 for the library that signs, with the reason why it is not a faster one",
            ["signer", "fallback_reason"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._signer_lanes = _Histogram(
            "tokensvc_signer_lanes",
            "Signatures made in one call of the multi-buffer signer",
            buckets=LANE_BUCKETS,
            registry=registry,
        )
        self._signer_fallbacks = Counter(
            "tokensvc_signer_fallbacks",
            "Signatures made by AWS-LC instead of the multi-buffer signer, by reason",
            ["reason"],
            registry=registry,
        )
        self._signer_verifications = Counter(
            "tokensvc_signer_verifications",
            "Multi-buffer signatures verified before use, by outcome: passed, failed",
            ["outcome"],
            registry=registry,
        )
        for reason in ("lane_failed", "not_verified", "switched_off"):
            self._signer_fallbacks.labels(reason)
        for outcome in ("passed", "failed"):
            self._signer_verifications.labels(outcome)
        self._log_lines_dropped = Counter(
            "tokensvc_log_lines_dropped", "Log lines that were not written, by reason", ["reason"], registry=registry
        )
        for reason in ("queue_full", "write_failed", "render_failed"):
            self._log_lines_dropped.labels(reason)

    def flush(self) -> None:
        issued = list(_drain(self._pending_issued))
        if issued:
            self._token_requests.labels("issued").inc(len(issued))
            self._issue_seconds.observe_all(issued)
        for code, times in CollectionsCounter(_drain(self._pending_failed)).items():
            self._token_requests.labels(code).inc(times)
        if lanes := list(_drain(self._pending_lanes)):
            self._signer_lanes.observe_all(lanes)
        for reason, count in _drain(self._pending_fallbacks):
            self._signer_fallbacks.labels(reason).inc(count)
        for passed in _drain(self._pending_verifications):
            self._signer_verifications.labels("passed" if passed else "failed").inc()
        for reason, lines in self._take_dropped_lines().items():
            self._log_lines_dropped.labels(reason).inc(lines)

    def signer_fallback(self, reason: str, count: int) -> None:
        self._pending_fallbacks.append((reason, count))

    def signer_chosen(self, name: str, fallback_reason: str) -> None:
        self._signer_info.labels(name, fallback_reason).set(1)

    def ivs_request(self, operation: str, code: str) -> None:
        self._ivs_requests.labels(operation, code).inc()

    def task_failed(self, task: str) -> None:
        self._task_failures.labels(task).inc()

    def snapshot_age(self, seconds: float) -> None:
        self._snapshot_age.set(seconds)

    def keys(self, region: str, active_age_seconds: float | None, slots_used: int) -> None:
        if active_age_seconds is not None:
            self._key_age.labels(region).set(active_age_seconds)
        self._key_slots.labels(region).set(slots_used)

    def rotation(self, is_leader: bool, problems: Mapping[str, int]) -> None:
        self._rotation_leader.set(is_leader)
        for region, count in problems.items():
            self._rotation_problems.labels(region).set(count)

    def workers(self, active: int, stale: int) -> None:
        self._workers.set(active)
        self._workers_stale.set(stale)

    def revocation_queue(self, depth: int, oldest_age_seconds: float) -> None:
        self._queue_depth.set(depth)
        self._queue_oldest_age.set(oldest_age_seconds)

    def revocations_dispatched(self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int]) -> None:
        for outcome, count in (("sent", sent), ("failed", failed), ("deferred", deferred)):
            self._revocations.labels(outcome).inc(count)
        for code, count in errors_by_code.items():
            self._revocation_errors.labels(code).inc(count)

    def render(self) -> bytes:
        self.flush()
        registry = self._registry
        if os.environ.get(MULTIPROCESS_DIRECTORY):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library has no types here
        return generate_latest(registry)


def _drain(pending: deque[_T]) -> Iterator[_T]:
    """Remove and yield what is pending now. Safe when two threads drain at the same time: each gets a part."""
    with suppress(IndexError):
        for _ in range(len(pending)):
            yield pending.popleft()


def forget_process(pid: int | None) -> None:
    """Stop exporting the gauges of a worker process that has ended."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call] # the library has no types here
