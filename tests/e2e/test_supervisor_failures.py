"""The parent of the workers restarts them, and can be stopped, whatever goes wrong in it."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.support.deployment import Deployment
from tests.support.processes import Process, is_alive, started

ROOT = Path(__file__).parents[2]
STOPS_WITHIN_SECONDS = 60
BUGGY_PARENT = """
from tokensvc import supervisor

def fail(*_arguments):
    raise RuntimeError("a bug")

supervisor.restart_delay = fail
supervisor.serve_from_env(supervisor.os.environ)
"""
"""`tokensvc serve`, but the parent fails when a worker has exited."""


@contextlib.contextmanager
def few_open_files(process: Process) -> Iterator[None]:
    """While the block runs, the process can open nothing."""
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    yield
    with contextlib.suppress(ProcessLookupError):  # it has been stopped
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)


def serving(process: Process) -> int:
    return process.err.count('"event": "serving"')


@pytest.mark.long
def test_a_worker_that_cannot_be_started_is_tried_again(deployment: Deployment) -> None:
    with deployment.serve(WORKERS="2") as service:
        process = service.process
        with few_open_files(process):
            os.kill(process.children()[0], SIGKILL)
            process.wait_until(lambda: process.err.count("worker not started") >= 2, "it is tried repeatedly")
            assert "metrics directory cannot be used" in process.err
            assert len(process.children()) == 1
        process.wait_until(lambda: serving(process) == 3, "the worker is started")
        assert process.err.count("worker exited and will be restarted") == 1
        assert process.stop() == 0


def test_a_parent_that_cannot_start_workers_can_be_stopped(deployment: Deployment) -> None:
    with deployment.serve(WORKERS="2") as service:
        process = service.process
        workers = process.children()
        with few_open_files(process):
            os.kill(workers[0], SIGKILL)
            process.wait_until(lambda: "worker not started" in process.err, "it cannot start a worker")
            assert process.stop() == 0
        assert not any(map(is_alive, workers))


def test_a_parent_that_fails_stops_its_workers(deployment: Deployment) -> None:
    environ = deployment.environ | {"TOKENSVC_WORKERS": "2", "PYTHONPATH": str(ROOT)}
    with started([sys.executable, "-c", BUGGY_PARENT], deployment.folder, environ, "buggy") as process:
        process.wait_until(lambda: serving(process) == 2, "both workers serve")
        workers = process.children()
        os.kill(workers[0], SIGKILL)
        assert process.wait_for_exit(STOPS_WITHIN_SECONDS) == 1
        assert not any(map(is_alive, workers))
        assert "uncaught exception" in process.err
