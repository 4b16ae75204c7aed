"""Metrics in Prometheus's format; with several workers, through its multiprocess mode.

Rules of the file
- `PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported when there are several workers.
- The hot path notes outcomes and times in a queue, no more; `settle` counts them, a few times a second and before every
  rendering.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter as CountOf
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

_T = TypeVar("_T")
MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
LANE_BUCKETS = (3, 4, 5, 6, 7, 8)
ISSUE_BUCKETS = (0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)


class _Histogram(Histogram):
    """Takes many observations for the price of a few: each by itself would cost a token 1 µs, and more with workers."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """As `observe` for each of them."""
        self._sum.inc(sum(amounts))
        ordered, counted = sorted(amounts), 0
        for bucket, bound in zip(self._buckets, self._upper_bounds, strict=True):
            up_to_here = bisect_right(ordered, bound, counted)
            if up_to_here > counted:
                bucket.inc(up_to_here - counted)
            counted = up_to_here


class PrometheusMetrics:
    """One worker's share of the figures."""

    def __init__(self, take_dropped_lines: Callable[[], Mapping[str, int]] = dict) -> None:
        self._take_dropped_lines = take_dropped_lines
        self._registry = registry = CollectorRegistry()
        self._noted_issued: deque[float] = deque()
        self._noted_refused: deque[str] = deque()
        self.tokens_issued = self._noted_issued.extend
        self.token_request_failed = self._noted_refused.append
        self._noted_lanes: deque[int] = deque()
        self._noted_fallbacks: deque[tuple[str, int]] = deque()
        self._noted_verified: deque[bool] = deque()
        self.lanes_filled = self._noted_lanes.append
        self.signature_verified = self._noted_verified.append
        self._tokens = Counter(
            "tokensvc_token_requests",
            "Tokens asked for, by outcome: issued, or the refusal's code",
            ["outcome"],
            registry=registry,
        )
        self._issue_seconds = _Histogram(
            "tokensvc_token_issue_duration_seconds", "Time to mint one token", buckets=ISSUE_BUCKETS, registry=registry
        )
        self._control_plane = Counter(
            "tokensvc_ivs_requests", "Calls to IVS, by operation and outcome", ["operation", "code"], registry=registry
        )
        self._background_failures = Counter(
            "tokensvc_background_failures", "Failed runs of background duties", ["task"], registry=registry
        )
        self._snapshot_age = Gauge(
            "tokensvc_snapshot_age_seconds",
            "Age of the oldest worker's snapshot",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._key_age = Gauge(
            "tokensvc_active_key_age_seconds",
            "How long the active key has been signing",
            ["region"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._key_slots = Gauge(
            "tokensvc_key_slots_used",
            "Key pairs of this deployment that IVS holds",
            ["region"],
            registry=registry,
            multiprocess_mode="livemax",
        )

        self._rotation_leads = Gauge(
            "tokensvc_rotation_leader",
            "1 where the process that performs rotations is on this machine",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._rotation_trouble = Gauge(
            "tokensvc_rotation_problems",
            "Things that keep keys from being rotated, as the process that performs says",
            ["region"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._workers = Gauge(
            "tokensvc_workers",
            "Workers of the deployment that were heard lately",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._workers_behind = Gauge(
            "tokensvc_workers_stale",
            "Those of them that have not heard of the newest keys",
            registry=registry,
            multiprocess_mode="livemax",
        )

        self._queued = Gauge(
            "tokensvc_revocation_queue_depth",
            "Revocations of viewers that IVS has yet to be told",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._oldest = Gauge(
            "tokensvc_revocation_queue_oldest_age_seconds",
            "How long the oldest of them has waited",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._revocations = Counter(
            "tokensvc_revocations",
            "Revocations of viewers told to IVS, by outcome: sent, failed, deferred",
            ["outcome"],
            registry=registry,
        )
        self._revocation_troubles = Counter(
            "tokensvc_revocation_errors", "Those that IVS did not take, by its code", ["code"], registry=registry
        )
        self._signer_info = Gauge(
            "tokensvc_signer_info",
            "1 for the library that signs, and why no faster one does",
            ["signer", "fallback_reason"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._signer_lanes = _Histogram(
            "tokensvc_signer_lanes",
            "Signatures made by one call of the multi-buffer signer",
            buckets=LANE_BUCKETS,
            registry=registry,
        )
        self._signer_fallbacks = Counter(
            "tokensvc_signer_fallbacks",
            "Signatures that AWS-LC made in place of the multi-buffer signer, by reason",
            ["reason"],
            registry=registry,
        )
        self._signer_verifications = Counter(
            "tokensvc_signer_verifications",
            "Multi-buffer signatures verified before they were given out, by outcome: passed, failed",
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
        for reason in ("queue_full", "write_failed"):
            self._log_lines_dropped.labels(reason)

    def flush(self) -> None:
        issued = list(_drained(self._noted_issued))
        if issued:
            self._tokens.labels("issued").inc(len(issued))
            self._issue_seconds.observe_all(issued)
        for code, times in CountOf(_drained(self._noted_refused)).items():
            self._tokens.labels(code).inc(times)
        if lanes := list(_drained(self._noted_lanes)):
            self._signer_lanes.observe_all(lanes)
        for reason, count in _drained(self._noted_fallbacks):
            self._signer_fallbacks.labels(reason).inc(count)
        for passed in _drained(self._noted_verified):
            self._signer_verifications.labels("passed" if passed else "failed").inc()
        for reason, lines in self._take_dropped_lines().items():
            self._log_lines_dropped.labels(reason).inc(lines)

    def signer_fallback(self, reason: str, count: int) -> None:
        self._noted_fallbacks.append((reason, count))

    def signer_chosen(self, name: str, fallback_reason: str) -> None:
        self._signer_info.labels(name, fallback_reason).set(1)

    def ivs_request(self, operation: str, code: str) -> None:
        self._control_plane.labels(operation, code).inc()

    def task_failed(self, task: str) -> None:
        self._background_failures.labels(task).inc()

    def snapshot_age(self, seconds: float) -> None:
        self._snapshot_age.set(seconds)

    def keys(self, region: str, active_age_seconds: float | None, slots_used: int) -> None:
        if active_age_seconds is not None:
            self._key_age.labels(region).set(active_age_seconds)
        self._key_slots.labels(region).set(slots_used)

    def rotation(self, is_leader: bool, problems: Mapping[str, int]) -> None:
        self._rotation_leads.set(is_leader)
        for region, count in problems.items():
            self._rotation_trouble.labels(region).set(count)

    def workers(self, active: int, stale: int) -> None:
        self._workers.set(active)
        self._workers_behind.set(stale)

    def revocation_queue(self, depth: int, oldest_age_seconds: float) -> None:
        self._queued.set(depth)
        self._oldest.set(oldest_age_seconds)

    def revocations_dispatched(self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int]) -> None:
        for outcome, count in (("sent", sent), ("failed", failed), ("deferred", deferred)):
            self._revocations.labels(outcome).inc(count)
        for code, count in errors_by_code.items():
            self._revocation_troubles.labels(code).inc(count)

    def render(self) -> bytes:
        self.flush()
        registry = self._registry
        if os.environ.get(MULTIPROCESS_DIRECTORY):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library has no types here
        return generate_latest(registry)


def _drained(noted: deque[_T]) -> Iterator[_T]:
    """What was noted so far; two who settle at once each get their share."""
    with suppress(IndexError):
        for _ in range(len(noted)):
            yield noted.popleft()


def forget_process(pid: int | None) -> None:
    """Stop showing the gauges of a worker process that has ended."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call] # the library has no types here
