"""A store outage under load: no effect until the lease ends, then errors with a reason, then recovery.

Invariants
- OUTAGE_SECONDS may be raised manually to a minute or an hour; the lease of the service follows.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.deployment import Deployment, LocalIvs
from tests.support.http_client import load
from tests.support.postgres import PostgresServer
from tests.support.processes import environment, started, wait_until

pytestmark = pytest.mark.long

OUTAGE_SECONDS = 2.0
"""An outage of this length must have no effect."""

LEASE_SECONDS = OUTAGE_SECONDS + 4
"""Longer by a refresh interval and the duration of a refresh: the lease counts from the start of the last successful
refresh."""

BACK_WITHIN_SECONDS = 10.0
STORE_TIMEOUT_SECONDS = 0.5
LOCK = """
import fcntl, sys, time

with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 8, 120)
    print("locked", flush=True)
    time.sleep(3600)
"""
"""Takes every lock of SQLite's WAL (wal.c: eight bytes from offset 120 of the `-shm` file), like a process that hangs
with exclusive access to the store: no other process can read or write."""


class Interruptible(NamedTuple):
    """A deployment whose store can be made unavailable."""

    deployment: Deployment
    outage: Callable[[], AbstractContextManager[None]]


@pytest.fixture
def on_sqlite(ivs: LocalIvs, tmp_path: Path) -> Interruptible:
    deployment = Deployment(ivs, tmp_path)

    @contextlib.contextmanager
    def outage() -> Iterator[None]:
        file = str(deployment.store.with_name(f"{deployment.store.name}-shm"))
        with started([sys.executable, "-c", LOCK, file], tmp_path, environment(tmp_path / "home"), "lock") as process:
            process.wait_until(lambda: "locked" in process.out, "the store is locked")
            yield
            process.kill()

    return Interruptible(deployment, outage)


@pytest.fixture
def on_postgresql(ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path) -> Interruptible:
    @contextlib.contextmanager
    def outage() -> Iterator[None]:
        postgres.stop()
        try:
            yield
        finally:
            postgres.start()

    return Interruptible(Deployment(ivs, tmp_path, postgres.url(postgres.fresh())), outage)


@pytest.mark.parametrize("database", ["on_sqlite", "on_postgresql"])
def test_no_token_request_fails_within_the_lease_and_service_recovers(
    request: pytest.FixtureRequest, database: str
) -> None:
    deployment, outage = request.getfixturevalue(database)
    key, arn = deployment.set_up(), deployment.new_channel()["arn"]
    settings = {
        "SNAPSHOT_LEASE_SECONDS": str(LEASE_SECONDS),
        "STORE_TIMEOUT_SECONDS": str(STORE_TIMEOUT_SECONDS),
    }
    with deployment.serve(**settings) as service, load(service.url, key, arn, pause_seconds=0.005) as running:
        wait_until(lambda: len(running.requests) > 100, "more than 100 requests were sent")
        outage_at = time.monotonic()
        with outage():
            away_at = time.monotonic()
            wait_until(lambda: running.requests[-1].status != 201, "a request fails", LEASE_SECONDS + 5)
            stale_at = time.monotonic()
            with service.client() as watcher:
                wait_until(lambda: watcher.get("/readyz").status == 503, "the service is not ready", 10)
                assert watcher.get("/readyz").json["code"] == "snapshot_stale"
                assert watcher.get("/livez").status == 200
            wait_until(lambda: time.monotonic() > stale_at + 1, "requests fail for a second", 10)
            ending_at = time.monotonic()
        wait_until(lambda: running.requests[-1].status == 201, "tokens are issued again", BACK_WITHIN_SECONDS)
        again_at = time.monotonic()
        wait_until(lambda: time.monotonic() > again_at + 0.5, "tokens are issued for half a second", 10)
    assert stale_at - outage_at > OUTAGE_SECONDS
    assert running.statuses(started_before=outage_at + OUTAGE_SECONDS) == {201}
    during = [r.status for r in running.requests if stale_at < r.started_at and r.finished_at < ending_at]
    assert set(during) == {503}
    assert running.statuses(started_after=again_at) == {201}
    failed = [request for request in running.requests if request.status != 201]
    assert {(request.status, request.code) for request in failed} == {(503, "snapshot_stale")}
    assert all(int(request.retry_after) >= 1 for request in failed)
    assert "Traceback" not in service.process.err
    if database == "on_sqlite":  # SQLite keeps waiting for a lock of its WAL, so no call fails
        return
    lines = [json.loads(line) for line in service.process.err.splitlines()]
    first, *others = [line for line in lines if line.get("code") == "store_unavailable" and "task" in line]
    assert first["event"] == "store unavailable"
    assert "(PostgreSQL: host " in first["error"]
    assert len(others) <= 2, "more than two further causes (such as a time-out after a lost connection) were logged"
    [again] = [line for line in lines if line["event"] == "store available again"]
    assert stale_at - away_at - 1 < again["seconds"] < again_at - outage_at + 5
