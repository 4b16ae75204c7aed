"""The Locust file as it is run from several machines: a master and two workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import benchmarks
from tests.benchmarks.load.conftest import Signing
from tests.e2e.site import free_port
from tests.minting import CHANNEL

pytestmark = pytest.mark.skipif(
    find_spec("locust") is None, reason="locust comes with the benchmarks: make bench-packages"
)

ROOT = Path(benchmarks.__file__).parents[1]
LOCUST = [sys.executable, "-m", "locust", "-f", "benchmarks/load/locustfile.py", "--skip-log"]
WITHIN_SECONDS = 60


def test_two_workers_ask_what_the_plan_says_and_the_master_counts_it(signing: Signing, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("tsk_very_secret\n")
    environ = {**os.environ, "LOAD_API_KEY_FILE": str(tmp_path / "key"), "LOAD_CHANNELS": str(CHANNEL)}
    port = str(free_port())
    one_user_each = ["--headless", "--expect-workers", "2", "--users", "2", "--spawn-rate", "2", "--run-time", "1"]
    lead = [*LOCUST, "--master", "--master-bind-port", port, "--host", signing.url, "--json", *one_user_each]
    follow = [*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    with (
        subprocess.Popen(lead, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as master,
        subprocess.Popen(follow, cwd=ROOT, env=environ, stderr=subprocess.PIPE) as one,
        subprocess.Popen(follow, cwd=ROOT, env=environ, stderr=subprocess.PIPE) as two,
    ):
        processes = (master, one, two)
        try:
            said = [process.communicate(timeout=WITHIN_SECONDS) for process in processes]
        finally:
            for process in processes:
                process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0], said
    (counted,) = json.loads(said[0][0])
    assert (counted["name"], counted["num_failures"]) == ("token", 0)
    assert counted["num_requests"] > 0
    assert len(signing.connections) == 2, "each of the workers has asked"
    assert "very_secret" not in repr(said)
