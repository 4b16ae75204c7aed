"""Automatic rotation under load, also when the leader is killed: real processes on real databases."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, NamedTuple

import jwt
import pytest

from tests.support.deployment import Deployment, LocalIvs, free_port
from tests.support.http_client import Client, fetch
from tests.support.postgres import PostgresServer
from tests.support.processes import TOKENSVC, Process, started, wait_until
from tests.support.published_keys import signing_key_ids
from tokensvc.keys.lifecycle import KeyState
from tokensvc.storage.store import Store, open_store

LEASE_SECONDS = 3.0
BEHIND_SECONDS = 4.0
"""More than a beat of the lease, a tick and a busy machine take."""

WORK = f"""
import os, sys
from tokensvc import supervisor
from tokensvc.container.logs import configure
from tokensvc.settings import read_settings
configure("json")
sys.exit(supervisor.run_background(read_settings(os.environ), rotation_lease_seconds={LEASE_SECONDS}))
"""
"""`tokensvc worker` with a lease that a test can wait for."""


class PlayedToken(NamedTuple):
    """One issued token, played at the edge at once, and verified by PyJWT with the published keys."""

    began_at: float
    asked: int
    played: int
    signed_by: str
    """The published key that it verifies with; "" when there is none."""


class Viewers:
    """Callers that request tokens and start playback with them continuously until stopped."""

    def __init__(self, url: str, key: str, channel: Any) -> None:
        self.tried: list[PlayedToken] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(url, key, channel), daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self) -> None:
        """Wait until some more tokens were played."""
        enough = len(self.tried) + 30
        wait_until(lambda: len(self.tried) >= enough, "asked for a while")

    def stop(self) -> list[PlayedToken]:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        return self.tried

    def _watch(self, url: str, key: str, channel: Any) -> None:
        while not self._stopping.wait(0.01):
            began_at = time.monotonic()
            with Client(url, key) as caller:  # a new connection each time, so that each worker is asked
                response = caller.request_token(channelArn=channel["arn"], viewerId="under-load")
                published = caller.get("/.well-known/jwks.json").json  # by the same worker, which knows its own key
            token = response.json.get("token", "")
            played = fetch(f"{channel['playbackUrl']}?token={token}").status
            self.tried.append(PlayedToken(began_at, response.status, played, signed_by(token, published)))


def signed_by(token: str, published: Any) -> str:
    """The key that signed the token; "" if none of these did."""
    return next(iter(signing_key_ids(token, jwt.PyJWKSet.from_dict(published).keys)), "")


@pytest.fixture
def on_sqlite(ivs: LocalIvs, tmp_path: Path) -> Deployment:
    return Deployment(ivs, tmp_path)


@pytest.fixture
def on_postgresql(ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path) -> Deployment:
    return Deployment(ivs, tmp_path, postgres.url(postgres.fresh()))


@contextlib.contextmanager
def store_of(site: Deployment) -> Iterator[Store]:
    store = open_store(site.environ["TOKENSVC_DATABASE_URL"])
    yield store
    store.close()


def working(site: Deployment, name: str) -> AbstractContextManager[Process]:
    """A process that runs the background tasks."""
    return started([sys.executable, "-c", WORK], site.folder, site.environ, name)


def rotate(site: Deployment) -> str:
    """Rotate; return the new active key."""
    [there] = site.run("keys", "rotate", "--json").json["regions"]
    return str(there["activeKeyId"])


def active(store: Store) -> str | None:
    """The active key."""
    return next((key_id for key_id, state in states(store).items() if state is KeyState.ACTIVE), None)


def states(store: Store) -> dict[str, KeyState]:
    """The state of each key."""
    return {there.key_id: there.state for record in store.keys.list() for there in record.placements}


def all_in_sync(store: Store, workers: int) -> bool:
    """Whether that many workers are in sync with the newest keys."""
    told, newest = store.workers.list(), store.versions.read().keys.number
    return len(told) == workers and all(worker.heartbeat.keys_version == newest for worker in told)


def leader(store: Store) -> int:
    """The process id of the rotation leader; 0 if there is none."""
    held = store.leases.held("rotation")
    return int(held.holder.split(":")[1]) if held is not None else 0


def test_no_request_fails_and_no_token_is_denied_while_keys_rotate(on_sqlite: Deployment) -> None:
    site = on_sqlite
    site.run("db", "upgrade")
    key, channel = site.add_caller("--all-channels"), site.new_channel()
    with site.serve(WORKERS="2") as service, store_of(site) as store:
        signed = [wait_until(lambda: active(store), "the first key is made by itself")]
        wait_until(lambda: all_in_sync(store, 2), "both workers know the keys")
        viewers = Viewers(service.url, key, channel)
        viewers.wait_for_more()
        for _ in range(2):
            signed.append(rotate(site))
            viewers.wait_for_more()
        tried = viewers.stop()
        assert active(store) == signed[-1]
        assert len(set(signed)) == 3
        assert {t.asked for t in tried} == {201}
        assert {t.played for t in tried} == {200}
        assert {t.signed_by for t in tried} == set(signed)
        assert "Traceback" not in service.process.err


def test_a_compromise_fails_no_request_and_denies_only_tokens_of_its_key(on_sqlite: Deployment) -> None:
    site = on_sqlite
    site.run("db", "upgrade", KEY_STANDBY="true")
    key, channel = site.add_caller("--all-channels"), site.new_channel()
    with site.serve(WORKERS="2") as service, store_of(site) as store:
        bad = str(wait_until(lambda: active(store), "the first key is made by itself"))
        wait_until(lambda: KeyState.PREPARED in states(store).values(), "a standby is ready")
        wait_until(lambda: all_in_sync(store, 2), "both workers know the keys")
        viewers = Viewers(service.url, key, channel)
        viewers.wait_for_more()
        said = site.run("keys", "compromise", bad, "--yes", "--json").json
        done_at = time.monotonic()
        viewers.wait_for_more()
        tried = viewers.stop()
        assert (said["done"], said["staleWorkers"]) == (True, [])
        assert said["impact"][0]["successor"] == active(store)
        assert {t.asked for t in tried} == {201}
        assert {t.signed_by for t in tried if t.played != 200} <= {bad, ""}
        assert {(t.played, t.signed_by) for t in tried if t.began_at > done_at} == {(200, active(store))}
        held = site.ivs.client(site.access_key).list_playback_key_pairs()["keyPairs"]
        assert bad not in {pair["tags"]["tokensvc:key"] for pair in held}, "and its pair is gone"


@pytest.mark.parametrize("database", ["on_postgresql", "on_sqlite"])
def test_when_the_leader_is_killed_another_process_takes_over(request: pytest.FixtureRequest, database: str) -> None:
    site: Deployment = request.getfixturevalue(database)
    site.run("db", "upgrade")
    with store_of(site) as store, working(site, "one") as one, working(site, "two") as two:
        processes = {process.pid: process for process in (one, two)}
        first = wait_until(lambda: active(store), "the first key is made by itself")
        wait_until(lambda: len(store.workers.list()) == 2, "both tell that they are there")
        victim = processes.pop(leader(store))
        [other] = processes.values()
        victim.send(SIGKILL)
        killed_at = time.monotonic()
        wait_until(lambda: leader(store) == other.pid, "the other performs", LEASE_SECONDS + BEHIND_SECONDS)
        assert time.monotonic() - killed_at > LEASE_SECONDS / 2, "a lease that runs is nobody else's"
        second = rotate(site)
        assert second == active(store) != first
        assert other.stop(SIGTERM) == 0
        assert leader(store) == 0, "who is told to stop gives the lease up"
        assert [worker.heartbeat.pid for worker in store.workers.list()] == [victim.pid]
        assert "Traceback" not in other.err
        assert len(site.ivs.client(site.access_key).list_playback_key_pairs()["keyPairs"]) == 2, "and left no orphan"


def test_worker_serves_metrics_and_little_else(on_sqlite: Deployment) -> None:
    site, port = on_sqlite, free_port()
    site.run("db", "upgrade")
    environ = site.environ | {"TOKENSVC_ADMIN_PORT": str(port)}
    with started([TOKENSVC, "worker"], site.folder, environ, "worker") as process:
        process.wait_until(lambda: '"running background tasks"' in process.err, "it works")
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.get("/livez").status == 200
            wait_until(lambda: b"tokensvc_rotation_leader 1.0" in client.get("/metrics").body, "its figures")
            assert client.get("/readyz").status == 404
            assert set(client.get("/openapi.json").json["paths"]) == {"/livez", "/metrics", "/openapi.json"}
            assert client.get("/v1/status").json["code"] == "route_not_found"


def test_the_status_is_on_the_admin_port_and_names_the_leader(on_sqlite: Deployment) -> None:
    site, port = on_sqlite, free_port()
    key = site.set_up("--all-channels", "--scope", "keys:read")
    with site.serve() as service, service.client(key) as caller:
        said = wait_until(lambda: _leader_of(caller), "it performs")
    assert said["regions"][0]["activeKey"]
    with site.serve(ADMIN_PORT=str(port), BACKGROUND_TASKS="false") as service, service.client(key) as caller:
        assert caller.get("/v1/status").status == 404
        with Client(f"http://127.0.0.1:{port}", key) as operator:
            [worker] = wait_until(lambda: operator.get("/v1/status").json["workers"], "it has told that it is there")
            assert worker["pid"] == service.process.pid
            assert operator.get("/v1/status").json["leader"] is None, "and nobody performs"


def _leader_of(caller: Client) -> Any:
    said = caller.get("/v1/status").json
    return said if said["leader"] and said["regions"] and said["regions"][0]["observedAt"] else None
