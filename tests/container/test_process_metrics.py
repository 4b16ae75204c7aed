"""The process metrics are those of this process."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from tests.container.test_prometheus import samples
from tokensvc.container.prometheus import PrometheusMetrics

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def read(metrics: PrometheusMetrics, name: str, worker: int = 3) -> float:
    return samples(metrics.render())[f'{name}{{worker="{worker}"}}']


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics(worker=3)


def test_processor_time_is_counted_once(metrics: PrometheusMetrics) -> None:
    first = read(metrics, "process_cpu_seconds_total")
    assert first == pytest.approx(time.process_time(), rel=0.2)
    sum(n * n for n in range(1_000_000))
    assert first < read(metrics, "process_cpu_seconds_total") <= time.process_time()


def test_open_files_are_counted_without_the_listing_itself(metrics: PrometheusMetrics) -> None:
    before = read(metrics, "process_open_fds")
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    assert read(metrics, "process_open_fds") == before + 7
    for descriptor in opened:
        os.close(descriptor)
    assert read(metrics, "process_max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_memory_is_in_bytes(metrics: PrometheusMetrics) -> None:
    resident, virtual = read(metrics, "process_resident_memory_bytes"), read(metrics, "process_virtual_memory_bytes")
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert resident == pytest.approx(int(fields["VmRSS"].split()[0]) * 1024, rel=0.1)
    assert virtual >= resident


def test_the_start_is_in_unix_time(metrics: PrometheusMetrics) -> None:
    started = read(metrics, "process_start_time_seconds")
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert boot < started <= time.time()
    assert time.time() - started < 3600
