"""The metrics that the service exports: names, labels, buckets and help texts, and nothing that fills them.

Invariants
- Base units, `_total` for counters, `_seconds` and `_bytes` for what has that unit (Prometheus, "Metric and label
  naming").
- No label contains a channel, a viewer or a key. A label whose values come from outside is bounded: `BoundedLabel`.
- A counter whose first increase somebody should notice starts at 0 with each of its values, so that `increase` sees it.
- Of gauges, several workers export the value that `multiprocess_mode` names. What every worker reads from the store is
  `MOST_RECENT`; what each worker has of its own has the label `worker`, or is summed or compared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tokensvc.metrics import ADMISSION_FAILURE_REASONS, DROPPED_SPAN_REASONS

CALLERS_MAX = 1000
"""How many callers a process names in its metrics; the others are counted together."""
ISSUERS_MAX = 100
OTHER: Final = "other"
"""The label of what is not named: further callers, unknown paths and methods."""
MOST_RECENT: Final = "livemostrecent"
"""For what every worker reads from the store: a worker that hangs, or is cut off, shows its last value for ever."""
LANE_BUCKETS = (3, 4, 5, 6, 7, 8)
ISSUE_BUCKETS = (0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)
HTTP_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
CALL_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""For calls to the store, IVS, the shared limiter and the policy hook."""
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class BatchHistogram(Histogram):
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


class BoundedLabel:
    """The values of a label that come from outside: the first ones by name, all further ones as `other`."""

    def __init__(self, values_max: int) -> None:
        self._values_max = values_max
        self._values: set[str] = set()

    def of(self, value: str) -> str:
        """The value to export for this one."""
        if value in self._values:
            return value
        if len(self._values) >= self._values_max:
            return OTHER
        self._values.add(value)
        return value


class MetricFamilies:
    """Every metric of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._http()
        self._tokens()
        self._processes()
        self._store()
        self._keys()
        self._revocations()
        self._ivs()
        self._signer()
        self._outside_decisions()
        self._records()

    def _counter(self, name: str, text: str, *labels: str, initial: Sequence[str] = ()) -> Counter:
        counter = Counter(name, text, labels, registry=self.registry)
        for value in initial:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, *labels: str, mode: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type] # a literal

    def _histogram(self, name: str, text: str, *labels: str, buckets: Sequence[float]) -> BatchHistogram:
        return BatchHistogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _http(self) -> None:
        self.http_seconds = self._histogram(
            "tokensvc_http_request_duration_seconds",
            "Time from a request's head to its response",
            "route",
            "method",
            "status",
            buckets=HTTP_BUCKETS,
        )
        self.http_connections = self._gauge("tokensvc_http_connections", "Open connections of clients", mode="livesum")
        self.loop_lag = self._histogram(
            "tokensvc_event_loop_lag_seconds",
            "How late the event loop ran a timer, sampled four times a second",
            buckets=LAG_BUCKETS,
        )

    def _tokens(self) -> None:
        self.token_requests = self._counter(
            "tokensvc_token_requests",
            "Token requests by caller and outcome: issued, or the error code",
            "caller",
            "outcome",
        )
        self.issue_seconds = self._histogram(
            "tokensvc_token_issue_duration_seconds", "Time to issue one token", buckets=ISSUE_BUCKETS
        )
        self.rate_limited = self._counter(
            "tokensvc_rate_limited",
            "Requests that a rate limit rejected, by limit",
            "limit",
            initial=("caller", "viewer", "channel", "address"),
        )

        self.playback_authorizations = self._counter(
            "tokensvc_playback_authorizations",
            "Requests of proxies about files, by outcome: started, continued, or the rule that refused",
            "outcome",
        )

    def _processes(self) -> None:
        self.build_info = self._gauge(
            "tokensvc_build_info",
            "1, with the version of tokensvc that runs and what it signs with",
            "version",
            "commit",
            "python",
            "signer",
            mode="livemax",
        )
        self.snapshot_age = self._gauge(
            "tokensvc_snapshot_age_seconds", "Age of the oldest worker's snapshot", mode="livemax"
        )
        self.clock_skew = self._gauge(
            "tokensvc_clock_skew_seconds",
            "How far this machine's clock is ahead of the store's; negative if behind",
            mode=MOST_RECENT,
        )
        self.workers = self._gauge(
            "tokensvc_workers", "Workers of the deployment with a recent heartbeat", mode=MOST_RECENT
        )
        self.workers_stale = self._gauge(
            "tokensvc_workers_stale",
            "Workers with a recent heartbeat that have not loaded the current keys",
            mode=MOST_RECENT,
        )
        self.task_failures = self._counter("tokensvc_background_failures", "Failed runs of background tasks", "task")
        self.cpu_seconds = self._counter(
            "process_cpu_seconds", "CPU time that each worker has used, in user and system mode", "worker"
        )
        self.resident_memory = self._gauge(
            "process_resident_memory_bytes", "Resident memory of each worker", "worker", mode="livemax"
        )
        self.virtual_memory = self._gauge(
            "process_virtual_memory_bytes", "Virtual memory of each worker", "worker", mode="livemax"
        )
        self.open_fds = self._gauge(
            "process_open_fds", "Open file descriptors of each worker", "worker", mode="livemax"
        )
        self.max_fds = self._gauge(
            "process_max_fds", "How many file descriptors each worker may have open", "worker", mode="livemax"
        )
        self.start_time = self._gauge(
            "process_start_time_seconds", "When each worker started, in Unix time", "worker", mode="livemax"
        )

    def _store(self) -> None:
        self.transaction_seconds = self._histogram(
            "tokensvc_store_transaction_duration_seconds",
            "Time of the store's transactions, the wait for a connection included",
            "mode",
            buckets=CALL_BUCKETS,
        )
        self.connection_wait = self._histogram(
            "tokensvc_store_connection_wait_seconds",
            "Time that transactions waited for a connection of the pool, or for a new one",
            buckets=CALL_BUCKETS,
        )
        self.store_connections = self._gauge(
            "tokensvc_store_connections_in_use", "Connections to the store that a transaction uses", mode="livesum"
        )
        self.store_connections_max = self._gauge(
            "tokensvc_store_connections_max", "How many connections to the store may be open", mode="livesum"
        )
        self.store_errors = self._counter(
            "tokensvc_store_errors", "Transactions of the store that failed, by error code", "code"
        )

    def _keys(self) -> None:
        self.signing_key_available = self._gauge(
            "tokensvc_signing_key_available",
            "1 if every worker has a key that it can sign with, 0 if one has none",
            "region",
            mode="livemin",
        )
        self.key_age = self._gauge(
            "tokensvc_active_key_age_seconds", "Time since the active key became active", "region", mode="livemax"
        )
        self.key_slots = self._gauge(
            "tokensvc_key_slots_used", "Key pairs of this deployment that are imported in IVS", "region", mode="livemax"
        )
        self.rotation_leader = self._gauge(
            "tokensvc_rotation_leader", "1 if a process on this machine is the rotation leader", mode="livemax"
        )
        self.rotation_problems = self._gauge(
            "tokensvc_rotation_problems",
            "Problems that block key rotation, as the rotation leader reports them",
            "region",
            mode="livemax",
        )
        self.rotation_overdue = self._gauge(
            "tokensvc_key_rotation_overdue_seconds",
            "Time since the active key reached its maximum age, as the rotation leader finds it",
            "region",
            mode="livemax",
        )
        self.drain_overdue = self._gauge(
            "tokensvc_key_drain_overdue_seconds",
            "Time since a retiring key, still in IVS, should have been deleted, as the rotation leader finds it",
            "region",
            mode="livemax",
        )

    def _revocations(self) -> None:
        self.queue_depth = self._gauge(
            "tokensvc_revocation_queue_depth", "Viewer revocations that are not yet delivered to IVS", mode=MOST_RECENT
        )
        self.queue_oldest_age = self._gauge(
            "tokensvc_revocation_queue_oldest_age_seconds",
            "Time since the oldest queued revocation was accepted",
            mode=MOST_RECENT,
        )
        self.revocations = self._counter(
            "tokensvc_revocations",
            "Viewer revocations dispatched to IVS, by outcome: sent, failed, deferred",
            "outcome",
            initial=("sent", "failed", "deferred"),
        )
        self.revocation_errors = self._counter(
            "tokensvc_revocation_errors", "Viewer revocations that IVS did not accept, by error code", "code"
        )

    def _ivs(self) -> None:
        self.ivs_requests = self._counter(
            "tokensvc_ivs_requests", "Requests to IVS by operation and result", "operation", "code"
        )
        self.ivs_seconds = self._histogram(
            "tokensvc_ivs_request_duration_seconds", "Time of requests to IVS", "operation", buckets=CALL_BUCKETS
        )

    def _signer(self) -> None:
        self.signer_info = self._gauge(
            "tokensvc_signer_info",
            "1 for the library that signs, with the reason why no faster one is used",
            "signer",
            "fallback_reason",
            mode="livemax",
        )
        self.signer_lanes = self._histogram(
            "tokensvc_signer_lanes", "Signatures made in one call of the multi-buffer signer", buckets=LANE_BUCKETS
        )
        self.signer_fallbacks = self._counter(
            "tokensvc_signer_fallbacks",
            "Signatures made by AWS-LC instead of the multi-buffer signer, by reason",
            "reason",
            initial=("lane_failed", "not_verified", "switched_off"),
        )
        self.signer_verifications = self._counter(
            "tokensvc_signer_verifications",
            "Multi-buffer signatures verified before use, by outcome: passed, failed",
            "outcome",
            initial=("passed", "failed"),
        )

    def _outside_decisions(self) -> None:
        """The issuers of bearer tokens, the shared limiter and the policy hook."""
        self.issuer_keys_age = self._gauge(
            "tokensvc_issuer_keys_age_seconds",
            "Age of the oldest worker's key set of an issuer of bearer tokens",
            "issuer",
            mode="livemax",
        )
        self.issuer_fetches = self._counter(
            "tokensvc_issuer_key_fetches",
            "Fetches of the key sets of issuers, by outcome: fetched, failed",
            "issuer",
            "outcome",
        )
        self.limiter_seconds = self._histogram(
            "tokensvc_limiter_duration_seconds", "Time of the shared rate limiter's decisions", buckets=CALL_BUCKETS
        )
        self.limiter_failures = self._counter(
            "tokensvc_limiter_failures",
            "Calls of the shared rate limiter that gave no decision",
            "reason",
            initial=ADMISSION_FAILURE_REASONS,
        )
        self.policy_hook_seconds = self._histogram(
            "tokensvc_policy_hook_duration_seconds", "Time of the policy hook's decisions", buckets=CALL_BUCKETS
        )
        self.policy_hook_failures = self._counter(
            "tokensvc_policy_hook_failures",
            "Token requests without a decision of the policy hook",
            "reason",
            initial=ADMISSION_FAILURE_REASONS,
        )

    def _records(self) -> None:
        """Audit records, log lines and traces."""
        self.audit_queue_depth = self._gauge(
            "tokensvc_audit_queue_depth", "Audit records that wait to be written to the store", mode="livesum"
        )
        self.audit_lag = self._gauge(
            "tokensvc_audit_lag_seconds",
            "How long the audit records of the process that is furthest behind have been waiting",
            mode="livemax",
        )
        self.audit_events_dropped = self._counter(
            "tokensvc_audit_events_dropped",
            "Refusals and issued tokens that got no audit record, because too many waited for the store",
        )
        self.audit_lines_lost = self._counter(
            "tokensvc_audit_lines_lost", "Audit records that the store has, but that could not be written to the stream"
        )
        self.log_lines_dropped = self._counter(
            "tokensvc_log_lines_dropped",
            "Log lines that were not written, by reason",
            "reason",
            initial=("queue_full", "write_failed", "render_failed"),
        )
        self.spans_dropped = self._counter(
            "tokensvc_trace_spans_dropped",
            "Spans that were not exported, by reason",
            "reason",
            initial=DROPPED_SPAN_REASONS,
        )
