"""What workers have counted survives them, takes bounded space, and is never seen half merged."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.container.test_prometheus import samples
from tokensvc.container.worker_files import WorkerFilesCollector, forget_process

pytestmark = pytest.mark.slow

WORKER = """
import sys
from tokensvc.container.prometheus import PrometheusMetrics
metrics = PrometheusMetrics(worker=int(sys.argv[1]))
metrics.tokens_issued([("shop", 0.001)] * 3)
metrics.http_request((0.0, "POST", "/v1/tokens", 201, "issued", "shop", "", "id", 0.002, "", False))
metrics.snapshot_age(float(sys.argv[2]))
metrics.http_connections(5)
metrics.signing_key_available("us-east-1", sys.argv[1] == "0")
sum(n * n for n in range(300_000))
metrics.flush()
"""
ISSUED = 'tokensvc_token_requests_total{caller="shop",outcome="issued"}'
REQUESTS = 'tokensvc_http_request_duration_seconds_count{method="POST",route="/v1/tokens",status="201"}'
AGE, CONNECTIONS = "tokensvc_snapshot_age_seconds", "tokensvc_http_connections"


def run_worker(directory: Path, number: int = 0, age: float = 1.0) -> int:
    """Run a worker that counts three tokens and one request, and ends; its process id."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(number), str(age)], env=environ)
    assert process.wait() == 0
    return process.pid


def scrape(directory: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(WorkerFilesCollector(directory))
    return samples(generate_latest(registry))


def cpu(found: dict[str, float], number: int) -> float:
    return found[f'process_cpu_seconds_total{{worker="{number}"}}']


def test_what_an_ended_worker_has_counted_stays_and_what_it_was_does_not(tmp_path: Path) -> None:
    ended, running = run_worker(tmp_path, 1, age=900), run_worker(tmp_path, 0, age=7)
    before = scrape(tmp_path)
    assert (before[ISSUED], before[AGE], before[CONNECTIONS]) == (6, 900, 10)
    assert before['tokensvc_signing_key_available{region="us-east-1"}'] == 0, "one has none"
    forget_process(tmp_path, ended)
    after = scrape(tmp_path)
    assert (after[ISSUED], after[REQUESTS], after[AGE], after[CONNECTIONS]) == (6, 2, 7, 5)
    assert after['tokensvc_signing_key_available{region="us-east-1"}'] == 1
    assert cpu(after, 1) == pytest.approx(cpu(before, 1))
    assert 'process_resident_memory_bytes{worker="1"}' not in after
    assert after['process_resident_memory_bytes{worker="0"}'] > 1_000_000
    forget_process(tmp_path, running)
    forget_process(tmp_path, running)
    assert (scrape(tmp_path)[ISSUED], scrape(tmp_path)[REQUESTS]) == (6, 2), "merging twice counts once"


def test_the_processor_time_of_a_worker_continues_with_its_successor(tmp_path: Path) -> None:
    forget_process(tmp_path, run_worker(tmp_path, 1))
    first = cpu(scrape(tmp_path), 1)
    run_worker(tmp_path, 1)
    assert cpu(scrape(tmp_path), 1) > first > 0.01


def test_workers_that_are_restarted_again_and_again_leave_no_files(tmp_path: Path) -> None:
    for number in range(4):
        forget_process(tmp_path, run_worker(tmp_path))
        assert scrape(tmp_path)[ISSUED] == 3 * (number + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter_ended.db", "files.lock", "histogram_ended.db"]


def test_a_file_without_a_header_is_not_read_yet(tmp_path: Path) -> None:
    """A worker that is starting has created it a moment ago."""
    run_worker(tmp_path)
    for name in ("counter_9999.db", "gauge_livemax_9999.db"):
        (tmp_path / name).touch()
    assert scrape(tmp_path)[ISSUED] == 3
    forget_process(tmp_path, 9999)


def _merge_all(directory: Path, pids: list[int]) -> None:
    for pid in pids:
        forget_process(directory, pid)


@pytest.mark.slow
def test_a_scrape_while_workers_end_misses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    pids = [run_worker(tmp_path) for _ in range(6)]
    merging = multiprocessing.get_context("spawn").Process(target=_merge_all, args=(tmp_path, pids))
    seen, stop = set[tuple[float, float]](), threading.Event()

    def scrape_again() -> None:
        while not stop.is_set():
            found = scrape(tmp_path)
            seen.add((found[ISSUED], found[REQUESTS]))

    thread = threading.Thread(target=scrape_again)
    thread.start()
    merging.start()
    merging.join()
    stop.set()
    thread.join()
    assert merging.exitcode == 0
    assert seen == {(18, 6)}
