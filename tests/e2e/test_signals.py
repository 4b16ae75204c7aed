"""SIGHUP, SIGUSR1 and SIGUSR2 stop no server or worker; the first of each is logged. Only the demo stops with its
terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP, SIGUSR1, SIGUSR2

import pytest

from tests.support.demo import running_demo
from tests.support.deployment import Deployment, free_port
from tests.support.http_client import fetch
from tests.support.processes import TOKENSVC, Process, environment, started, wait_until

SIGNALS = (SIGHUP, SIGUSR1, SIGUSR2)


def _survives(process: Process, url: str) -> None:
    for logged, number in enumerate(SIGNALS, start=1):
        process.send(number)
        process.wait_until(_logged(process, logged), f"{number.name} is logged", 10)
        process.send(number)
    assert fetch(url).status == 200
    assert process.is_running
    for number in SIGNALS:
        assert process.err.count(number.name) == 1


def _logged(process: Process, count: int) -> Callable[[], bool]:
    return lambda: process.err.count("signal ignored") == count


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_ignores_them(deployment: Deployment, workers: str) -> None:
    with deployment.serve(WORKERS=workers) as service:
        _survives(service.process, f"{service.url}/livez")
        assert '"level": "info"' in next(line for line in service.process.err.splitlines() if "signal ignored" in line)


def test_each_serving_process_ignores_them(deployment: Deployment) -> None:
    """Closing a terminal sends SIGHUP to all processes of its foreground group."""
    with deployment.serve(WORKERS="2") as service:
        children = service.process.children()
        for pid in children:
            for number in SIGNALS:
                os.kill(pid, number)
            wait_until(_logged(service.process, 3 * (1 + children.index(pid))), "each signal is logged", 10)
            os.kill(pid, SIGHUP)
        assert service.process.children() == children
        assert fetch(f"{service.url}/livez").status == 200


def test_worker_ignores_them(deployment: Deployment) -> None:
    port = free_port()
    environ = deployment.environ | {"TOKENSVC_ADMIN_PORT": str(port)}
    with started([TOKENSVC, "worker"], deployment.folder, environ, "work-signals") as process:
        process.wait_until(lambda: '"running background tasks"' in process.err, "the background tasks run")
        _survives(process, f"http://127.0.0.1:{port}/livez")


def test_the_demo_stops_with_its_terminal(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (_, process, _):
        for number in (SIGUSR1, SIGUSR2):
            process.send(number)
        process.wait_until(_logged(process, 2), "both signals are logged", 10)
        process.send(SIGHUP)
        assert process.wait_for_exit() == 0
        assert not (tmp_path / ".demo" / "demo.json").exists()


def test_the_local_ivs_ignores_them(tmp_path: Path) -> None:
    info = tmp_path / "info.json"
    options = ["--port", "0", "--memory", "--info-file", str(info)]
    with started([TOKENSVC, "ivs", "serve", *options], tmp_path, environment(tmp_path / "home"), "ivs") as process:
        process.wait_until(info.exists, "the local IVS is ready")
        management = json.loads(info.read_text())["managementUrl"]
        for number in SIGNALS:
            process.send(number)
        process.wait_until(lambda: process.err.count("signal ignored") == 3, "each signal is logged", 10)
        assert fetch(f"{management}/faults").status == 200
