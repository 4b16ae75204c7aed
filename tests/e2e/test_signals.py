"""SIGHUP, SIGUSR1 and SIGUSR2 stop no server or worker. SIGHUP makes them read the log's level again; the first of the
others is logged. Only the demo stops with its terminal."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP, SIGKILL, SIGUSR1, SIGUSR2

import pytest
from urllib3.exceptions import HTTPError

from tests.support.demo import running_demo
from tests.support.deployment import Deployment, free_port
from tests.support.http_client import fetch
from tests.support.processes import TOKENSVC, Process, environment, started, wait_until

pytestmark = pytest.mark.long

IGNORED = (SIGUSR1, SIGUSR2)
SIGNALS = (SIGHUP, *IGNORED)


def _survives(process: Process, url: str) -> None:
    for logged, number in enumerate(IGNORED, start=1):
        process.send(number)
        process.wait_until(_logged(process, logged), f"{number.name} is logged", 10)
        process.send(number)
    process.send(SIGHUP)
    process.wait_until(lambda: "log level read" in process.err, "the level is read", 10)
    process.send(SIGHUP)
    assert fetch(url).status == 200
    assert process.is_running
    for number in IGNORED:
        assert process.err.count(number.name) == 1


def responds(url: str) -> bool:
    with contextlib.suppress(HTTPError):
        return fetch(url).status > 0
    return False


def _logged(process: Process, count: int) -> Callable[[], bool]:
    return lambda: process.err.count("signal ignored") == count


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_survives_them(deployment: Deployment, workers: str) -> None:
    with deployment.serve(WORKERS=workers) as service:
        _survives(service.process, f"{service.url}/livez")
        assert '"level": "info"' in next(line for line in service.process.err.splitlines() if "signal ignored" in line)


def test_each_serving_process_survives_them(deployment: Deployment) -> None:
    """Closing a terminal sends SIGHUP to all processes of its foreground group."""
    with deployment.serve(WORKERS="2") as service:
        children = service.process.children()
        for pid in children:
            for number in SIGNALS:
                os.kill(pid, number)
            wait_until(_logged(service.process, 2 * (1 + children.index(pid))), "each signal is logged", 10)
            os.kill(pid, SIGHUP)
        assert service.process.children() == children
        assert fetch(f"{service.url}/livez").status == 200


def test_worker_survives_them(deployment: Deployment) -> None:
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


def test_the_level_in_a_file_is_read_again_on_sighup_by_every_worker_and_its_successors(
    deployment: Deployment, tmp_path: Path
) -> None:
    level, port = tmp_path / "level", free_port()
    level.write_text("error\n")
    settings = {"WORKERS": "2", "LOG_LEVEL_FILE": str(level), "PORT": str(port), "BACKGROUND_TASKS": "false"}
    environ = deployment.environ | {f"TOKENSVC_{name}": value for name, value in settings.items()}
    unknown = f"http://127.0.0.1:{port}/nothing"
    with started([TOKENSVC, "serve"], deployment.folder, environ, "levels") as process:

        def change(text: str) -> None:
            level.write_text(text)
            process.send(SIGHUP)

        process.wait_until(lambda: responds(unknown), "it serves")
        for _ in range(20):
            assert fetch(unknown).status == 404
        assert process.err == "", "no line of level info is written at level error"
        change("debug")
        process.wait_until(lambda: process.err.count("log level read") == 3, "parent and workers have read it", 10)
        process.wait_until(lambda: '"background task run"' in process.err, "there are lines of level debug", 10)
        assert fetch(unknown).status == 404
        process.wait_until(lambda: '"event":"request"' in process.err, "requests are logged", 10)
        change("verbose eyJhbGciOiJFUzM4NCJ9.eyJh.c2ln")
        process.wait_until(lambda: "log level not changed" in process.err, "it is refused", 10)
        assert "TOKENSVC_LOG_LEVEL_FILE" in process.err
        assert "verbose" not in process.err
        serving = process.err.count('"event": "serving"')  # of a worker that still started when the level changed
        os.kill(process.children()[0], SIGKILL)
        process.wait_until(
            lambda: process.err.count('"event": "serving"') > serving, "the successor has the present level"
        )


def test_a_hangup_while_workers_start_stops_none_of_them(deployment: Deployment, tmp_path: Path) -> None:
    level = tmp_path / "level"
    level.write_text("info")
    environ = deployment.environ | {"TOKENSVC_WORKERS": "2", "TOKENSVC_LOG_LEVEL_FILE": str(level)}
    with started([TOKENSVC, "serve"], deployment.folder, environ, "hangups") as process:
        process.wait_until(lambda: len(process.children()) >= 2, "the workers are started")
        level.write_text("debug")
        for _ in range(50):
            process.send(SIGHUP)
        process.wait_until(lambda: process.err.count('"event": "serving"') == 2, "all workers serve")
        process.wait_until(lambda: process.err.count('"log_level": "debug"') >= 3, "all three have read it", 10)
        assert "worker exited" not in process.err
