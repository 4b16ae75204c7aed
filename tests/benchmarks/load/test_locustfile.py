"""The Locust file as run on several machines: a master and two workers, each in its own process."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import benchmarks
from tests.benchmarks.load.conftest import SigningService
from tests.support.deployment import free_port
from tests.support.processes import environment, started
from tests.support.tokens import CHANNEL

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(find_spec("locust") is None, reason="locust comes with the benchmarks: make bench-packages"),
]

ROOT = Path(benchmarks.__file__).parents[1]
LOCUST = [sys.executable, "-m", "locust", "-f", str(ROOT / "benchmarks/load/locustfile.py"), "--skip-log"]


def test_two_workers_send_the_plan_and_the_master_counts_it(signing_service: SigningService, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("tsk_very_secret\n")
    (tmp_path / "key").chmod(0o600)
    settings = {"LOAD_API_KEY_FILE": str(tmp_path / "key"), "LOAD_CHANNELS": str(CHANNEL), "PYTHONPATH": str(ROOT)}
    environ, port = environment(tmp_path / "home", settings), str(free_port())
    one_user_each = ["--headless", "--expect-workers", "2", "--users", "2", "--spawn-rate", "2", "--run-time", "5"]
    master_command = [
        *LOCUST,
        "--master",
        "--master-bind-port",
        port,
        "--host",
        signing_service.url,
        "--json",
        *one_user_each,
    ]
    worker_command = [*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    with (
        started(master_command, tmp_path, environ, "master") as master,
        started(worker_command, tmp_path, environ, "one") as one,
        started(worker_command, tmp_path, environ, "two") as two,
    ):
        processes = (master, one, two)
        codes = [process.wait_for_exit(60) for process in processes]
    output = "".join(process.out + process.err for process in processes)
    assert codes == [0, 0, 0], output
    (counted,) = json.loads(master.out)
    assert (counted["name"], counted["num_failures"]) == ("token", 0)
    assert counted["num_requests"] > 0
    assert len(signing_service.connections) == 2, "each worker has connected"
    assert "very_secret" not in output
