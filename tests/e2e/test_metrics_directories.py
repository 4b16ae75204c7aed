"""Workers share their metrics in a directory that is removed however they end, and never while one of them runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from signal import SIGKILL, SIGSTOP

import pytest
from urllib3.exceptions import HTTPError

from tests.support.deployment import Deployment, Service
from tests.support.http_client import client_per_worker, fetch
from tests.support.processes import is_alive, wait_until

pytestmark = pytest.mark.long

STOPS_WITHIN_SECONDS = 25


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
