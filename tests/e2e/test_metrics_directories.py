"""Workers share their metrics in a directory that is removed however they end, and never while one of them runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from signal import SIGKILL, SIGSTOP

import pytest
from urllib3.exceptions import HTTPError

from tests.support.deployment import Deployment, Service
from tests.support.http_client import client_per_worker, fetch
from tests.support.processes import is_alive, started, wait_until

pytestmark = pytest.mark.long

STOPS_WITHIN_SECONDS = 25
ROOT = Path(__file__).parents[2]
ALWAYS_KEEPING = """
from tokensvc import supervisor

supervisor._KEEP_METRICS_SECONDS = 0
supervisor.serve_from_env(supervisor.os.environ)
"""
"""`tokensvc serve`, but it does all the time what it does every hour."""


class Temporary:
    """The temporary directory of all processes that the deployment starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def directories(self) -> list[Path]:
        return sorted(self.folder.glob("tokensvc-metrics-*"))


@pytest.fixture
def temporary(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Temporary:
    monkeypatch.setitem(deployment.environ, "TMPDIR", str(tmp_path))
    return Temporary(tmp_path)


def _has_metrics(service: Service) -> bool:
    return b"tokensvc_snapshot_age_seconds" in fetch(f"{service.url}/metrics").body


def test_the_directory_is_removed_at_shutdown(deployment: Deployment, temporary: Temporary) -> None:
    with deployment.serve(WORKERS="2") as service:
        assert len(temporary.directories()) == 1
        assert _has_metrics(service)
    assert not temporary.directories()


def test_when_the_parent_is_killed_the_last_worker_removes_the_directory(
    deployment: Deployment, temporary: Temporary
) -> None:
    with deployment.serve(WORKERS="2") as service:
        with client_per_worker(service.url, "", 2):
            pass  # both handle signals
        workers = service.process.children()
        service.process.kill()
        wait_until(lambda: not any(map(is_alive, workers)), "the workers exit with their parent", STOPS_WITHIN_SECONDS)
        assert not temporary.directories()


@pytest.mark.long
def test_when_all_are_killed_the_next_start_removes_unused_directories_only(
    deployment: Deployment, temporary: Temporary
) -> None:
    with deployment.serve(WORKERS="2") as running:
        in_use = temporary.directories()
        with deployment.serve(WORKERS="2") as killed:
            workers = killed.process.children()
            for worker in workers:  # so that none notices that its parent is gone
                os.kill(worker, SIGSTOP)
            killed.process.kill()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, SIGKILL)
            wait_until(lambda: not any(map(is_alive, workers)), "all processes have exited")
            [unused] = [path for path in temporary.directories() if path not in in_use]
        with deployment.serve(WORKERS="1"):
            assert temporary.directories() == in_use
        assert not unused.exists()
        assert _has_metrics(running)


def test_the_files_of_a_running_service_never_look_old(deployment: Deployment, temporary: Temporary) -> None:
    """Systems delete temporary files that were not used for days."""
    environ = deployment.environ | {"TOKENSVC_WORKERS": "2", "PYTHONPATH": str(ROOT)}
    with started([sys.executable, "-c", ALWAYS_KEEPING], deployment.folder, environ, "keeping") as process:
        process.wait_until(lambda: process.err.count('"event": "serving"') == 2, "both workers serve")
        [directory] = temporary.directories()
        lock = directory / "in-use.lock"
        os.utime(lock, (0, 0))
        process.wait_until(lambda: lock.stat().st_mtime > 0, "the lock file was used")


@pytest.mark.parametrize("deleted", ["in-use.lock", "."])
def test_a_worker_is_replaced_although_the_system_has_deleted_temporary_files(
    deployment: Deployment, temporary: Temporary, deleted: str
) -> None:
    with deployment.serve(WORKERS="2") as service:
        [directory] = temporary.directories()
        if deleted == ".":
            shutil.rmtree(directory)
        else:
            (directory / deleted).unlink()
        _kill_one_and_wait(service)
        assert (directory / "in-use.lock").exists()
        wait_until(lambda: _has_metrics(service), "metrics are exported")
        assert service.process.stop() == 0
        assert "metrics directory cannot be used" not in service.process.err
    assert not temporary.directories()


def test_a_worker_is_replaced_although_its_metrics_cannot_be_shared(
    deployment: Deployment, temporary: Temporary
) -> None:
    with deployment.serve(WORKERS="2") as service:
        [directory] = temporary.directories()
        shutil.rmtree(directory)
        directory.touch()
        _kill_one_and_wait(service)
        assert service.process.stop() == 0
        assert "metrics directory cannot be used" in service.process.err


def _kill_one_and_wait(service: Service) -> None:
    os.kill(service.process.children()[0], SIGKILL)
    service.process.wait_until(lambda: service.process.err.count('"event": "serving"') == 3, "its successor serves")


@pytest.mark.long
def test_scrapes_succeed_and_counters_never_fall_while_workers_are_killed(
    deployment: Deployment, temporary: Temporary
) -> None:
    name = 'tokensvc_http_request_duration_seconds_count{method="GET",route="other",status="404"}'
    counts, killed, statuses = list[float](), list[int](), list[int]()
    with deployment.serve(WORKERS="2") as service:
        while len(killed) < 3 or len(set(service.process.children()) - set(killed)) < 2:
            with contextlib.suppress(HTTPError):  # the connection to a worker that was just killed
                fetch(f"{service.url}/nothing")
                scraped = fetch(f"{service.url}/metrics")
                statuses.append(scraped.status)
                lines = dict(line.rsplit(" ", 1) for line in scraped.body.decode().splitlines() if line[0] != "#")
                counts.append(float(lines.get(name, 0)))
            if len(statuses) % 40 == 0 and len(killed) < 3 and len(service.process.children()) == 2:
                killed.append(service.process.children()[len(killed) % 2])
                os.kill(killed[-1], SIGKILL)
        [directory] = temporary.directories()
        files = {path.name for path in directory.glob("*.db")}
    assert set(statuses) == {200}
    assert counts == sorted(counts), "a counter fell"
    assert counts[-1] > 40
    assert not [file for file in files for pid in killed if file.endswith(f"_{pid}.db")], (
        "files of ended workers are merged"
    )
    assert {"counter_ended.db", "histogram_ended.db"} <= files
