"""Metrics in Prometheus's format, from one worker and from several."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tokensvc.container.metric_families import CALLERS_MAX, ISSUE_BUCKETS, ISSUERS_MAX
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.metrics import HandledRequest

pytestmark = pytest.mark.slow

NAMES = {
    "tokensvc_http_request_duration_seconds",
    "tokensvc_http_connections",
    "tokensvc_event_loop_lag_seconds",
    "tokensvc_token_requests_total",
    "tokensvc_token_issue_duration_seconds",
    "tokensvc_rate_limited_total",
    "tokensvc_playback_authorizations_total",
    "tokensvc_build_info",
    "tokensvc_snapshot_age_seconds",
    "tokensvc_clock_skew_seconds",
    "tokensvc_workers",
    "tokensvc_workers_stale",
    "tokensvc_background_failures_total",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
    "tokensvc_store_transaction_duration_seconds",
    "tokensvc_store_connection_wait_seconds",
    "tokensvc_store_connections_in_use",
    "tokensvc_store_connections_max",
    "tokensvc_store_errors_total",
    "tokensvc_signing_key_available",
    "tokensvc_active_key_age_seconds",
    "tokensvc_key_slots_used",
    "tokensvc_rotation_leader",
    "tokensvc_rotation_problems",
    "tokensvc_key_rotation_overdue_seconds",
    "tokensvc_key_drain_overdue_seconds",
    "tokensvc_revocation_queue_depth",
    "tokensvc_revocation_queue_oldest_age_seconds",
    "tokensvc_revocations_total",
    "tokensvc_revocation_errors_total",
    "tokensvc_ivs_requests_total",
    "tokensvc_ivs_request_duration_seconds",
    "tokensvc_signer_info",
    "tokensvc_signer_lanes",
    "tokensvc_signer_fallbacks_total",
    "tokensvc_signer_verifications_total",
    "tokensvc_issuer_keys_age_seconds",
    "tokensvc_issuer_key_fetches_total",
    "tokensvc_limiter_duration_seconds",
    "tokensvc_limiter_failures_total",
    "tokensvc_policy_hook_duration_seconds",
    "tokensvc_policy_hook_failures_total",
    "tokensvc_audit_queue_depth",
    "tokensvc_audit_lag_seconds",
    "tokensvc_audit_events_dropped_total",
    "tokensvc_audit_lines_lost_total",
    "tokensvc_log_lines_dropped_total",
    "tokensvc_trace_spans_dropped_total",
}


def samples(text: bytes) -> dict[str, float]:
    """The samples by name and labels."""
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def request(
    route: str = "/v1/tokens",
    method: str = "POST",
    status: int = 201,
    seconds: float = 0.0007,
    trace_id: str = "",
) -> HandledRequest:
    return HandledRequest(0, method, route, status, "issued", "shop", "", "id", seconds, trace_id, bool(trace_id))


def fill(metrics: PrometheusMetrics) -> None:
    metrics.tokens_issued([("shop", 0.0002), ("shop", 3.0)])
    metrics.token_request_failed("shop", "not_allowed")
    for lanes in (8, 8, 3):
        metrics.lanes_filled(lanes)
    metrics.signer_fallback("lane_failed", 2)
    for passed in (True, True, False):
        metrics.signature_verified(passed)
    metrics.signer_chosen("multibuffer", "")
    metrics.ivs_request("BatchGetChannel", "ok", 0.02)
    metrics.task_failed("refresh")
    metrics.snapshot_age(0.5)
    metrics.keys("us-east-1", 60.0, 2)
    metrics.keys("eu-west-1", None, 0)
    metrics.rotation(True, {"us-east-1": 2, "eu-west-1": 0})
    metrics.workers(3, 1)
    metrics.revocation_queue(5, 7.5)
    metrics.revocations_dispatched(4, 2, 1, {"ThrottlingException": 1, "AccessDeniedException": 2})
    metrics.http_request(request())
    metrics.http_connections(12)
    metrics.event_loop_lag(0.002)
    metrics.rate_limited("viewer")
    metrics.playback_authorized("expiry")
    metrics.build("1.2.3", "abc1234", "3.11.2", "multibuffer")
    metrics.clock_skew(-0.25)
    metrics.store_transaction("read", 0.004, 0.001)
    metrics.store_transaction("write", 5.0, None)
    metrics.store_connections(3, 16)
    metrics.store_failed("store_unavailable")
    metrics.signing_key_available("us-east-1", True)
    metrics.overdue("us-east-1", 60.0, 0.0)
    metrics.issuer_keys("login.example.com", 30.0)
    metrics.issuer_keys_fetched("login.example.com", True)
    metrics.issuer_keys_fetched("login.example.com", False)
    metrics.limiter_decided(0.003)
    metrics.policy_hook_decided(0.05)
    metrics.audit_queue(7, 1.5)
    metrics.spans_dropped("queue_full", 4)


def test_every_metric_is_rendered_under_its_documented_name() -> None:
    metrics = PrometheusMetrics()
    fill(metrics)
    found = samples(metrics.render())
    assert found['tokensvc_token_requests_total{caller="shop",outcome="issued"}'] == 2
    assert found['tokensvc_token_requests_total{caller="shop",outcome="not_allowed"}'] == 1
    assert (
        found["tokensvc_token_issue_duration_seconds_count"],
        found["tokensvc_token_issue_duration_seconds_sum"],
    ) == (2, 3.0002)
    assert [
        found[f'tokensvc_token_issue_duration_seconds_bucket{{le="{le}"}}'] for le in ("0.00015", "0.0002", "0.1")
    ] == [0, 1, 1]
    assert (found["tokensvc_signer_lanes_count"], found["tokensvc_signer_lanes_sum"]) == (3, 19)
    assert [found[f'tokensvc_signer_lanes_bucket{{le="{le}"}}'] for le in ("3.0", "7.0", "8.0")] == [1, 1, 3]
    fallbacks = {"lane_failed": 2, "not_verified": 0, "switched_off": 0}
    for reason, count in fallbacks.items():
        assert found[f'tokensvc_signer_fallbacks_total{{reason="{reason}"}}'] == count
    assert found['tokensvc_signer_verifications_total{outcome="passed"}'] == 2
    assert found['tokensvc_signer_verifications_total{outcome="failed"}'] == 1
    assert found['tokensvc_signer_info{fallback_reason="",signer="multibuffer"}'] == 1
    assert found['tokensvc_ivs_requests_total{code="ok",operation="BatchGetChannel"}'] == 1
    assert found['tokensvc_background_failures_total{task="refresh"}'] == 1
    assert found["tokensvc_snapshot_age_seconds"] == 0.5
    assert found['tokensvc_active_key_age_seconds{region="us-east-1"}'] == 60
    assert found['tokensvc_key_slots_used{region="us-east-1"}'] == 2
    assert 'tokensvc_active_key_age_seconds{region="eu-west-1"}' not in found
    assert found["tokensvc_rotation_leader"] == 1
    assert found['tokensvc_rotation_problems{region="us-east-1"}'] == 2
    assert found['tokensvc_rotation_problems{region="eu-west-1"}'] == 0
    assert (found["tokensvc_workers"], found["tokensvc_workers_stale"]) == (3, 1)
    assert (found["tokensvc_revocation_queue_depth"], found["tokensvc_revocation_queue_oldest_age_seconds"]) == (5, 7.5)
    outcomes = [found[f'tokensvc_revocations_total{{outcome="{name}"}}'] for name in ("sent", "failed", "deferred")]
    assert outcomes == [4, 2, 1]
    assert found['tokensvc_revocation_errors_total{code="AccessDeniedException"}'] == 2
    http = 'method="POST",route="/v1/tokens",status="201"'
    name = "tokensvc_http_request_duration_seconds"
    assert (found[f"{name}_count{{{http}}}"], found[f"{name}_sum{{{http}}}"]) == (1, 0.0007)
    at = 'method="POST",route="/v1/tokens",status="201"'
    assert [found[f'{name}_bucket{{le="{le}",{at}}}'] for le in ("0.0005", "0.001")] == [0, 1]
    assert found["tokensvc_http_connections"] == 12
    assert (found["tokensvc_event_loop_lag_seconds_count"], found["tokensvc_event_loop_lag_seconds_sum"]) == (1, 0.002)
    assert found['tokensvc_playback_authorizations_total{outcome="expiry"}'] == 1
    assert [found[f'tokensvc_rate_limited_total{{limit="{limit}"}}'] for limit in ("viewer", "caller")] == [1, 0]
    build = 'commit="abc1234",python="3.11.2",signer="multibuffer",version="1.2.3"'
    assert found[f"tokensvc_build_info{{{build}}}"] == 1
    assert found["tokensvc_clock_skew_seconds"] == -0.25
    assert found['tokensvc_store_transaction_duration_seconds_sum{mode="read"}'] == 0.004
    assert found['tokensvc_store_transaction_duration_seconds_sum{mode="write"}'] == 5
    assert found["tokensvc_store_connection_wait_seconds_count"] == 1, "the other transaction got no connection"
    assert (found["tokensvc_store_connections_in_use"], found["tokensvc_store_connections_max"]) == (3, 16)
    assert found['tokensvc_store_errors_total{code="store_unavailable"}'] == 1
    assert found['tokensvc_signing_key_available{region="us-east-1"}'] == 1
    assert found['tokensvc_key_rotation_overdue_seconds{region="us-east-1"}'] == 60
    assert found['tokensvc_key_drain_overdue_seconds{region="us-east-1"}'] == 0
    assert found['tokensvc_issuer_keys_age_seconds{issuer="login.example.com"}'] == 30
    fetches = 'tokensvc_issuer_key_fetches_total{issuer="login.example.com",outcome='
    assert [found[f'{fetches}"{outcome}"}}'] for outcome in ("fetched", "failed")] == [1, 1]
    assert found["tokensvc_limiter_duration_seconds_sum"] == 0.003
    assert found["tokensvc_policy_hook_duration_seconds_sum"] == 0.05
    assert (found["tokensvc_audit_queue_depth"], found["tokensvc_audit_lag_seconds"]) == (7, 1.5)
    dropped = [found[f'tokensvc_trace_spans_dropped_total{{reason="{r}"}}'] for r in ("queue_full", "export_failed")]
    assert dropped == [4, 0]
    assert found['tokensvc_ivs_request_duration_seconds_sum{operation="BatchGetChannel"}'] == 0.02
    bare = {re.sub(r"(_bucket|_count|_sum)?(\{.*)?$", "", name) for name in found if "_created" not in name}
    assert bare == NAMES


def test_a_counter_of_events_to_alert_on_starts_from_0_so_that_increase_sees_the_first() -> None:
    found = samples(PrometheusMetrics().render())
    expected = {
        "revocations": ("outcome", ("sent", "failed", "deferred")),
        "signer_fallbacks": ("reason", ("lane_failed", "not_verified", "switched_off")),
        "signer_verifications": ("outcome", ("passed", "failed")),
        "log_lines_dropped": ("reason", ("queue_full", "write_failed", "render_failed")),
    }
    for name, (label, values) in expected.items():
        assert [found[f'tokensvc_{name}_total{{{label}="{value}"}}'] for value in values] == [0] * len(values)


def test_no_label_can_hold_a_channel_a_viewer_or_a_key() -> None:
    metrics = PrometheusMetrics()
    fill(metrics)
    labels = set(re.findall(r"[{,]([a-z_]+)=", metrics.render().decode()))
    build = {"version", "commit", "python", "signer", "fallback_reason"}
    request_labels = {"route", "method", "status", "caller", "limit", "issuer"}
    assert labels == {
        *("outcome", "operation", "code", "task", "region", "le", "reason", "mode", "worker"),
        *build,
        *request_labels,
    }


@given(st.lists(st.floats(0, 1) | st.sampled_from(ISSUE_BUCKETS)))
def test_observing_many_values_equals_observing_them_one_by_one(seconds: list[float]) -> None:
    metrics, registry = PrometheusMetrics(), CollectorRegistry()
    plain = Histogram("tokensvc_token_issue_duration_seconds", "", buckets=ISSUE_BUCKETS, registry=registry)
    for one in seconds:
        metrics.tokens_issued([("shop", one)])
        plain.observe(one)
    found, expected = samples(metrics.render()), samples(generate_latest(registry))
    for name in expected.keys() - {"tokensvc_token_issue_duration_seconds_created"}:
        assert found[name] == pytest.approx(expected[name]), name


def test_concurrent_flushes_lose_nothing_and_count_nothing_twice() -> None:
    metrics = PrometheusMetrics()
    ready = threading.Barrier(4, timeout=30)

    def record() -> None:
        ready.wait()
        for _ in range(2000):
            metrics.tokens_issued([("shop", 0.001)])

    def flush() -> None:
        ready.wait()
        for _ in range(200):
            metrics.flush()

    threads = [threading.Thread(target=task) for task in (record, record, flush, flush)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(metrics.render())
    assert found['tokensvc_token_requests_total{caller="shop",outcome="issued"}'] == 4000
    assert found["tokensvc_token_issue_duration_seconds_count"] == 4000
    again = samples(metrics.render())
    assert {n: v for n, v in again.items() if not n.startswith("process_")} == {
        n: v for n, v in found.items() if not n.startswith("process_")
    }, "rendering itself counts nothing"


def test_dropped_log_lines_are_counted_once_by_reason() -> None:
    taken = [{"queue_full": 3}, {}, {"queue_full": 1, "write_failed": 2}]
    metrics = PrometheusMetrics(lambda: taken.pop(0))
    found = [samples(metrics.render()) for _ in range(3)]
    names = [f'tokensvc_log_lines_dropped_total{{reason="{reason}"}}' for reason in ("queue_full", "write_failed")]
    assert [[samples[name] for name in names] for samples in found] == [[3, 0], [3, 0], [4, 2]]


WORKER = """
from tokensvc.container.prometheus import PrometheusMetrics
metrics = PrometheusMetrics()
for _ in range(3):
    metrics.tokens_issued([("shop", 0.001)])
metrics.snapshot_age({age})
metrics.flush()
{then}
"""


def test_the_metrics_of_all_workers_are_combined(tmp_path: Path) -> None:
    """Counters are summed, including those of dead workers; an age is that of the oldest live worker."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(age: int, then: str) -> bytes:
        command = [sys.executable, "-c", WORKER.format(age=age, then=then)]
        return subprocess.run(command, env=environ, check=True, capture_output=True).stdout

    run(900, "from prometheus_client import multiprocess; import os; multiprocess.mark_process_dead(os.getpid())")
    found = samples(run(7, "import sys; sys.stdout.buffer.write(metrics.render())"))
    assert found['tokensvc_token_requests_total{caller="shop",outcome="issued"}'] == 6
    assert found["tokensvc_snapshot_age_seconds"] == pytest.approx(7)


def test_of_what_all_workers_read_from_the_store_the_latest_is_rendered(tmp_path: Path) -> None:
    """A worker that hangs, or has lost the store, does not hide that it is missing."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(then: str) -> bytes:
        command = [sys.executable, "-c", WORKER.format(age=1, then=then)]
        return subprocess.run(command, env=environ, check=True, capture_output=True).stdout

    run("metrics.workers(2, 1); metrics.revocation_queue(50, 400.0)")
    render = "import sys; sys.stdout.buffer.write(metrics.render())"
    found = samples(run(f"metrics.workers(1, 0); metrics.revocation_queue(3, 1.5); {render}"))
    assert (found["tokensvc_workers"], found["tokensvc_workers_stale"]) == (1, 0)
    assert (found["tokensvc_revocation_queue_depth"], found["tokensvc_revocation_queue_oldest_age_seconds"]) == (3, 1.5)


def series(metrics: PrometheusMetrics, name: str) -> set[str]:
    return {sample for sample in samples(metrics.render()) if sample.startswith(f"{name}{{")}


def test_100_000_paths_methods_and_statuses_of_clients_are_a_few_series() -> None:
    """The application gives `-` for a path without a route; a parser may let any method pass."""
    metrics = PrometheusMetrics()
    for number in range(100_000):
        metrics.http_request(request("-", f"METHOD{number}", 404))
    assert series(metrics, "tokensvc_http_request_duration_seconds_count") == {
        'tokensvc_http_request_duration_seconds_count{method="other",route="other",status="404"}'
    }


def test_100_000_callers_are_counted_by_name_up_to_a_bound_and_none_is_lost() -> None:
    metrics = PrometheusMetrics()
    for number in range(100_000):
        metrics.tokens_issued([(f"caller-{number}", 0.001)])
    metrics.token_request_failed("", "unauthenticated")
    found = samples(metrics.render())
    counted = {name: value for name, value in found.items() if name.startswith("tokensvc_token_requests_total{")}
    assert len(counted) == CALLERS_MAX + 2
    assert counted['tokensvc_token_requests_total{caller="caller-0",outcome="issued"}'] == 1
    assert counted['tokensvc_token_requests_total{caller="-",outcome="unauthenticated"}'] == 1
    assert counted['tokensvc_token_requests_total{caller="other",outcome="issued"}'] == 100_000 - CALLERS_MAX
    assert found["tokensvc_token_issue_duration_seconds_count"] == 100_000
    metrics.tokens_issued([("caller-0", 0.001)])
    name = 'tokensvc_token_requests_total{caller="caller-0",outcome="issued"}'
    assert samples(metrics.render())[name] == 2, "who is named stays named"


def test_requests_that_are_not_authenticated_are_counted_under_a_name_that_no_caller_has() -> None:
    metrics = PrometheusMetrics()
    metrics.token_request_failed("", "unauthenticated")
    assert series(metrics, "tokensvc_token_requests_total") == {
        'tokensvc_token_requests_total{caller="-",outcome="unauthenticated"}'
    }


def test_issuers_are_bounded_too() -> None:
    metrics = PrometheusMetrics()
    for number in range(1000):
        metrics.issuer_keys(f"login-{number}.example", 1.0)
        metrics.issuer_keys_fetched(f"login-{number}.example", False)
    assert len(series(metrics, "tokensvc_issuer_keys_age_seconds")) == ISSUERS_MAX + 1
    assert len(series(metrics, "tokensvc_issuer_key_fetches_total")) == ISSUERS_MAX + 1


def test_openmetrics_has_the_trace_of_the_last_sampled_request_of_each_bucket() -> None:
    metrics = PrometheusMetrics()
    for trace_id in ("a" * 32, "b" * 32, ""):
        metrics.http_request(request(seconds=0.0007, trace_id=trace_id))
    metrics.http_request(request(seconds=99.0, trace_id="c" * 32))
    body, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    buckets = {
        (sample.labels["le"]): sample
        for family in text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call] # the library has no types here
        for sample in family.samples
        if sample.name == "tokensvc_http_request_duration_seconds_bucket"
    }
    exemplars = {le: sample.exemplar for le, sample in buckets.items() if sample.exemplar is not None}
    assert {le: (e.labels, e.value) for le, e in exemplars.items()} == {
        "0.001": ({"trace_id": "b" * 32}, 0.0007),
        "+Inf": ({"trace_id": "c" * 32}, 99.0),
    }
    assert buckets["0.001"].value == 3
    assert b"trace_id" not in metrics.render(), "the text format has no exemplars"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("\x00\xff;;q=,text/plain;version=zzz", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=zzz", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_the_format_is_what_the_scraper_accepts(accept: str, content_type: str) -> None:
    assert PrometheusMetrics().exposition(accept)[1] == content_type


@given(st.text())
def test_no_accept_header_makes_a_scrape_fail(accept: str) -> None:
    assert PrometheusMetrics().exposition(accept)[0]


def test_what_is_known_only_at_present_is_sampled_once_a_second_and_with_every_scrape() -> None:
    now, count = [100.0], [0]

    def sample() -> None:
        count[0] += 1

    metrics = PrometheusMetrics(monotonic=lambda: now[0])
    metrics.sample_with(sample)
    for _ in range(8):
        metrics.flush()
        now[0] += 0.25
    assert count == [2]
    metrics.render()
    assert count[0] >= 3
