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

from tokensvc.container.prometheus import ISSUE_BUCKETS, PrometheusMetrics

NAMES = {
    "tokensvc_token_requests_total",
    "tokensvc_token_issue_duration_seconds",
    "tokensvc_ivs_requests_total",
    "tokensvc_background_failures_total",
    "tokensvc_snapshot_age_seconds",
    "tokensvc_active_key_age_seconds",
    "tokensvc_key_slots_used",
    "tokensvc_rotation_leader",
    "tokensvc_rotation_problems",
    "tokensvc_workers",
    "tokensvc_workers_stale",
    "tokensvc_revocation_queue_depth",
    "tokensvc_revocation_queue_oldest_age_seconds",
    "tokensvc_revocations_total",
    "tokensvc_revocation_errors_total",
    "tokensvc_log_lines_dropped_total",
    "tokensvc_signer_info",
    "tokensvc_signer_lanes",
    "tokensvc_signer_fallbacks_total",
    "tokensvc_signer_verifications_total",
}


def samples(text: bytes) -> dict[str, float]:
    """The samples by name and labels."""
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def fill(metrics: PrometheusMetrics) -> None:
    metrics.tokens_issued([0.0002, 3.0])
    metrics.token_request_failed("not_allowed")
    for lanes in (8, 8, 3):
        metrics.lanes_filled(lanes)
    metrics.signer_fallback("lane_failed", 2)
    for passed in (True, True, False):
        metrics.signature_verified(passed)
    metrics.signer_chosen("multibuffer", "")
    metrics.ivs_request("BatchGetChannel", "ok")
    metrics.task_failed("refresh")
    metrics.snapshot_age(0.5)
    metrics.keys("us-east-1", 60.0, 2)
    metrics.keys("eu-west-1", None, 0)
    metrics.rotation(True, {"us-east-1": 2, "eu-west-1": 0})
    metrics.workers(3, 1)
    metrics.revocation_queue(5, 7.5)
    metrics.revocations_dispatched(4, 2, 1, {"ThrottlingException": 1, "AccessDeniedException": 2})


def test_every_metric_is_rendered_under_its_documented_name() -> None:
    metrics = PrometheusMetrics()
    fill(metrics)
    found = samples(metrics.render())
    assert found['tokensvc_token_requests_total{outcome="issued"}'] == 2
    assert found['tokensvc_token_requests_total{outcome="not_allowed"}'] == 1
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
    choice = {"signer", "fallback_reason"}
    assert labels == {"outcome", "operation", "code", "task", "region", "le", "reason", *choice}


@given(st.lists(st.floats(0, 1) | st.sampled_from(ISSUE_BUCKETS)))
def test_observing_many_values_equals_observing_them_one_by_one(seconds: list[float]) -> None:
    metrics, registry = PrometheusMetrics(), CollectorRegistry()
    plain = Histogram("tokensvc_token_issue_duration_seconds", "", buckets=ISSUE_BUCKETS, registry=registry)
    for one in seconds:
        metrics.tokens_issued([one])
        plain.observe(one)
    found, expected = samples(metrics.render()), samples(generate_latest(registry))
    for name in expected.keys() - {"tokensvc_token_issue_duration_seconds_created"}:
        assert found[name] == pytest.approx(expected[name]), name


def test_concurrent_flushes_lose_nothing_and_count_nothing_twice() -> None:
    metrics = PrometheusMetrics()
    ready = threading.Barrier(4, timeout=5)

    def record() -> None:
        ready.wait()
        for _ in range(2000):
            metrics.tokens_issued([0.001])

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
    assert found['tokensvc_token_requests_total{outcome="issued"}'] == 4000
    assert found["tokensvc_token_issue_duration_seconds_count"] == 4000
    assert samples(metrics.render()) == found, "rendering itself counts nothing"


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
    metrics.tokens_issued([0.001])
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
    assert found['tokensvc_token_requests_total{outcome="issued"}'] == 6
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
