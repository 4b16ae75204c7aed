"""The real load command on a real `tokensvc serve` with two workers and a local IVS."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import benchmarks
from benchmarks import servers
from benchmarks.load.deployment import DeploymentUnderTest, temporary_deployment
from benchmarks.load.server_stats import find_server
from tests.support.processes import CommandResult, Process, environment, run, started, wait_until

pytest.importorskip("hdrh", reason="hdrhistogram comes with the benchmarks: make bench-packages")
pytest.importorskip("matplotlib", reason="matplotlib comes with the benchmarks: make bench-packages")
pytestmark = pytest.mark.long

ROOT = Path(benchmarks.__file__).parents[1]
WORKERS = 2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeploymentUnderTest]:
    with temporary_deployment(tmp_path_factory.mktemp("deployed"), {"TOKENSVC_WORKERS": str(WORKERS)}) as deployment:
        yield deployment


@pytest.fixture
def supervisor(service: DeploymentUnderTest) -> psutil.Process:
    """The supervisor, found by its command line instead of its port."""
    [found] = [one for one in psutil.Process().children() if one.cmdline()[-3:] == ["-m", "tokensvc", "serve"]]
    return found


def command(service: DeploymentUnderTest, folder: Path, api_key: str, *more: str) -> list[str]:
    (folder / "key").write_text(api_key)
    (folder / "key").chmod(0o600)
    caller = ["--url", service.target.url, "--api-key-file", str(folder / "key")]
    caller += ["--channel", service.target.channels[0], "--out", str(folder / "out")]
    return [sys.executable, "-m", "benchmarks.load", *more, *caller, "--json", "--max-scheduling-delay", "60000"]


def environ(folder: Path) -> dict[str, str]:
    return environment(folder / "home", {"PYTHONPATH": str(ROOT)})


def tokens_of(result: Any) -> int:
    """The tokens of the whole run, including the warm-up."""
    return int(sum(one["count"] for one in result["successes"]) + result["warmup"]["requests"])


def test_the_cost_of_a_token_includes_all_workers(
    service: DeploymentUnderTest, supervisor: psutil.Process, tmp_path: Path
) -> None:
    before = servers.cpu_seconds(supervisor.pid)
    output: CommandResult = run(
        command(service, tmp_path, service.target.api_key, "--rate", "400", "--duration", "8"),
        tmp_path,
        environ(tmp_path),
    )
    used = servers.cpu_seconds(supervisor.pid) - before
    result = json.loads(output.out)
    assert result["server"]["processes"] >= 1 + WORKERS
    assert result["server"]["processes_ended"] == 0
    assert result["server"]["cpu_us_per_token"] == pytest.approx(used / tokens_of(result) * 1e6, rel=0.35)


def test_a_replaced_worker_is_reported_and_its_cpu_time_included(
    service: DeploymentUnderTest, supervisor: psutil.Process, tmp_path: Path
) -> None:
    watched = find_server(service.target)
    assert watched is not None
    assert watched.pid == supervisor.pid
    arguments = command(service, tmp_path, service.target.api_key, "--rate", "200", "--duration", "10")
    process: Process
    with started(arguments, tmp_path, environ(tmp_path), "load") as process:
        process.wait_until(lambda: " 5/13 s" in process.err, "the warm-up is over")
        before = watched.reading(0)
        worker = max(supervisor.children(), key=lambda one: sum(one.cpu_times()[:2]))
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: len(supervisor.children()) > WORKERS, "the worker is replaced")
        after = watched.reading(1)
        assert process.wait_for_exit(60) in {0, 1}, process.err
    assert after.cpu_seconds >= before.cpu_seconds
    result = json.loads(process.out)
    assert result["server"]["processes_ended"] == 1
    assert result["server"]["cores_used"] > 0
    assert result["server"]["cpu_us_per_token"] > 0


def test_a_wrong_api_key_is_reported_as_401(service: DeploymentUnderTest, tmp_path: Path) -> None:
    output = run(
        command(service, tmp_path, "tsk_wrong", "--rate", "50", "--duration", "2", "--max-error-rate", "1%"),
        tmp_path,
        environ(tmp_path),
        code=1,
    )
    result = json.loads(output.out)
    [error] = result["errors"]
    assert (error["status"], error["code"]) == (401, "unauthenticated")
    assert error["count"] == result["figures"]["requests"] == result["figures"]["failed_requests"]
    assert result["exceeded"] == ["the error rate is 100.000%; the limit is 1.000% (--max-error-rate)"]
    assert "401 unauthenticated: " in output.err
    assert "not written" not in output.err
