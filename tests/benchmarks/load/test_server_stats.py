"""CPU time and memory of all of a server's processes, whichever the system lists as owner of the listening socket."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from benchmarks.load.server_stats import WatchedServer, find_server
from benchmarks.load.wire import Target
from tests.support.processes import wait_until

pytestmark = pytest.mark.long

SERVER = Path(__file__).with_name("forking_server.py")
ROUNDING = 0.001


@contextmanager
def forking(mode: str, workers: int) -> Iterator[tuple[subprocess.Popen[str], Target, list[int]]]:
    """A prefork server: its process, its address, and the pids of its first workers."""
    command = [sys.executable, str(SERVER), mode, str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            pids = [int(server.stdout.readline()) for _ in range(workers)]
            yield server, Target(f"http://127.0.0.1:{port}", "", ()), pids
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def require_server(target: Target) -> WatchedServer:
    watched = find_server(target)
    assert watched is not None
    return watched


def cpu_seconds_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_a_supervisor_and_all_its_workers_are_one_server() -> None:
    with forking("parent-listens", 3) as (server, target, workers):
        watched = require_server(target)
        assert watched.pid == server.pid, "the topmost process that holds the socket"
        wait_until(lambda: all(cpu_seconds_of(pid) > 0.1 for pid in workers), "each worker has used CPU")
        minimum = cpu_seconds_of(server.pid) + sum(cpu_seconds_of(pid) for pid in workers)
        reading = watched.reading(0)
        maximum = cpu_seconds_of(server.pid) + sum(cpu_seconds_of(pid) for pid in workers)
        assert reading.processes == 4
        assert minimum - ROUNDING <= reading.cpu_seconds <= maximum + ROUNDING


def test_workers_whose_parent_closed_the_socket_are_all_counted() -> None:
    """The system lists only one of them; they are found through their common parent."""
    with forking("parent-closes", 3) as (_, target, workers):
        watched = require_server(target)
        wait_until(lambda: all(cpu_seconds_of(pid) > 0.1 for pid in workers), "each worker has used CPU")
        reading = watched.reading(0)
        assert reading.processes == 3
        assert reading.cpu_seconds >= 0.3


@pytest.mark.parametrize("mode", ["parent-listens", "parent-closes"])
def test_the_cpu_time_of_a_worker_that_died_stays_in_the_sum(mode: str) -> None:
    with forking(mode, 2) as (server, target, (victim, survivor)):
        watched = require_server(target)
        wait_until(lambda: cpu_seconds_of(victim) > 0.3, "the worker has used CPU")
        before, survivor_before = watched.reading(0), cpu_seconds_of(survivor)
        os.kill(victim, signal.SIGKILL)
        if mode == "parent-listens":
            assert server.stdout is not None
            replacement = int(server.stdout.readline())
            wait_until(lambda: cpu_seconds_of(replacement) > 0.1, "the replacement has used CPU")
        else:
            wait_until(lambda: psutil.Process(victim).status() == psutil.STATUS_ZOMBIE, "the worker has ended")
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: not psutil.pid_exists(victim), "the worker is reaped")
        replacement_used = 0.1 if mode == "parent-listens" else 0.0
        survivor_used = cpu_seconds_of(survivor) - survivor_before
        assert watched.reading(1).cpu_seconds >= before.cpu_seconds + survivor_used + replacement_used - ROUNDING


def test_replaced_workers_are_reported() -> None:
    with forking("parent-listens", 2) as (server, target, workers):
        watched = require_server(target)
        assert (watched.reading(0).processes, watched.reading(0).ended) == (3, 0)
        os.kill(workers[1], signal.SIGKILL)
        assert server.stdout is not None
        server.stdout.readline()
        after = watched.reading(1)
        assert (after.processes, after.ended) == (3, 1)


def test_a_server_that_ended_keeps_its_last_figures() -> None:
    with forking("parent-listens", 1) as (server, target, workers):
        watched = require_server(target)
        wait_until(lambda: cpu_seconds_of(workers[0]) > 0.1, "the worker has used CPU")
        before = watched.reading(0)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        wait_until(lambda: not psutil.pid_exists(workers[0]), "the worker has ended")
        after = watched.reading(1)
        assert (after.processes, after.rss_bytes, after.ended) == (0, 0, 2)
        assert after.cpu_seconds == before.cpu_seconds
