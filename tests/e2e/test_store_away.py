"""A store outage under load: no effect until the lease ends, then errors with a reason, then recovery.

Invariants
- AWAY_SECONDS may be raised by hand, to a minute or an hour; the lease of the service follows.
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

AWAY_SECONDS = 1.0
"""How long the store is away while nobody may notice."""

LEASE_SECONDS = AWAY_SECONDS + 1.5
"""Longer by a refresh and what it may take: the lease counts from the beginning of the last refresh that ended well."""

BACK_WITHIN_SECONDS = 2.0
STORE_TIMEOUT_SECONDS = 0.5
LOCK = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 8, 120)
    print("locked", flush=True)
    time.sleep(3600)
"""
"""Takes every lock of SQLite's WAL (wal.c: eight bytes from 120 on of the `-shm` file), as a process would that holds
the store for itself and hangs: nobody reads, nobody writes."""


class Away(NamedTuple):
    """A deployment whose store can be made unavailable."""

    site: Deployment
    taken: Callable[[], AbstractContextManager[None]]


@pytest.fixture
def on_sqlite(ivs: LocalIvs, tmp_path: Path) -> Away:
    site = Deployment(ivs, tmp_path)

    @contextlib.contextmanager
    def taken() -> Iterator[None]:
        file = str(site.store.with_name(f"{site.store.name}-shm"))
        with started([sys.executable, "-c", LOCK, file], tmp_path, environment(tmp_path / "home"), "lock") as process:
            process.wait_until(lambda: "locked" in process.out, "it locked the store")
            yield
            process.kill()

    return Away(site, taken)


@pytest.fixture
def on_postgresql(ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path) -> Away:
    @contextlib.contextmanager
    def taken() -> Iterator[None]:
        postgres.stop()
        try:
            yield
        finally:
            postgres.start()

    return Away(Deployment(ivs, tmp_path, postgres.url(postgres.fresh())), taken)


@pytest.mark.parametrize("database", ["on_sqlite", "on_postgresql"])
def test_no_token_request_fails_within_the_lease_and_service_recovers(
    request: pytest.FixtureRequest, database: str
) -> None:
    site, taken = request.getfixturevalue(database)
    key, arn = site.set_up(), site.new_channel()["arn"]
    settings = {
        "SNAPSHOT_LEASE_SECONDS": str(LEASE_SECONDS),
        "STORE_TIMEOUT_SECONDS": str(STORE_TIMEOUT_SECONDS),
    }
    with site.serve(**settings) as service, load(service.url, key, arn, pause_seconds=0.005) as asking:
        wait_until(lambda: len(asking.asked) > 100, "asked for a while")
        with taken():
            taken_at = time.monotonic()
            wait_until(lambda: asking.asked[-1].status != 201, "a refusal", LEASE_SECONDS + 1)
            stale_at = time.monotonic()
            with service.client() as watcher:
                wait_until(lambda: watcher.get("/readyz").status == 503, "unready", 2)
                assert watcher.get("/readyz").json["code"] == "snapshot_stale"
                assert watcher.get("/livez").status == 200
            wait_until(lambda: time.monotonic() > stale_at + 1, "refused for a while", 2)
        back_at = time.monotonic()
        wait_until(lambda: asking.asked[-1].status == 201, "issues again", BACK_WITHIN_SECONDS)
        again_at = time.monotonic()
        wait_until(lambda: time.monotonic() > again_at + 0.5, "served for a while", 10)
    assert stale_at - taken_at > AWAY_SECONDS
    assert asking.statuses(began_before=taken_at + AWAY_SECONDS) == {201}
    assert asking.statuses(stale_at + 0.1, back_at - 0.1) == {503}
    assert asking.statuses(began_after=again_at) == {201}
    refused = [a for a in asking.asked if a.status != 201]
    assert {(a.status, a.code) for a in refused} == {(503, "snapshot_stale")}
    assert all(int(a.retry_after) >= 1 for a in refused)
    assert "Traceback" not in service.process.err
    if database == "on_sqlite":  # SQLite goes on waiting for a lock of its WAL, so no call fails
        return
    lines = [json.loads(line) for line in service.process.err.splitlines()]
    first, *others = [line for line in lines if line.get("code") == "store_unavailable" and "task" in line]
    assert first["event"] == "store unavailable"
    assert "(PostgreSQL: host " in first["error"]
    assert len(others) <= 2, "further causes, such as a time-out after a lost connection"
    [again] = [line for line in lines if line["event"] == "store available again"]
    assert stale_at - taken_at - 1 < again["seconds"] < again_at - taken_at + 5
