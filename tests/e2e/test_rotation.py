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
DELAY_SECONDS = 8.0
"""More than a lease renewal, an interval of the task and the delays of a busy machine take."""

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
    """One issued token, played at the edge immediately, and verified by PyJWT with the published keys."""

    started_at: float
    token_status: int
    playback_status: int
    signed_by: str
    """The published key that verifies it; "" if there is none."""


class Viewers:
    """Callers that request tokens and start playback with them continuously until stopped."""

    def __init__(self, url: str, key: str, channel: Any) -> None:
        self.played: list[PlayedToken] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(url, key, channel), daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self) -> None:
        """Wait until some more tokens were played."""
        enough = len(self.played) + 30
        wait_until(lambda: len(self.played) >= enough, "more tokens were played")

    def wait_for_token_of(self, key_id: str | None) -> None:
        """Wait until a token of this key was played. Workers learn of an activation at their next refresh."""
        wait_until(lambda: any(t.signed_by == key_id for t in [*self.played]), f"a token of {key_id} was played")

    def stop(self) -> list[PlayedToken]:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        return self.played

    def _watch(self, url: str, key: str, channel: Any) -> None:
        while not self._stopping.wait(0.01):
            started_at = time.monotonic()
            with Client(url, key) as caller:  # a new connection each time, so that every worker gets requests
                response = caller.request_token(channelArn=channel["arn"], viewerId="under-load")
                published = caller.get("/.well-known/jwks.json").json  # from the same worker, which knows its own key
            token = response.json.get("token", "")
            playback_status = fetch(f"{channel['playbackUrl']}?token={token}").status
            self.played.append(PlayedToken(started_at, response.status, playback_status, signed_by(token, published)))


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
def store_of(deployment: Deployment) -> Iterator[Store]:
    store = open_store(deployment.environ["TOKENSVC_DATABASE_URL"])
    yield store
    store.close()


def working(deployment: Deployment, name: str) -> AbstractContextManager[Process]:
    """A process that runs the background tasks."""
    return started([sys.executable, "-c", WORK], deployment.folder, deployment.environ, name)


def rotate(deployment: Deployment) -> str:
    """Rotate; return the new active key."""
    [region] = deployment.run("keys", "rotate", "--json").json["regions"]
    return str(region["activeKeyId"])


def active(store: Store) -> str | None:
    """The active key."""
    return next((key_id for key_id, state in states(store).items() if state is KeyState.ACTIVE), None)


def states(store: Store) -> dict[str, KeyState]:
    """The state of each key."""
    return {placement.key_id: placement.state for record in store.keys.list() for placement in record.placements}


def all_in_sync(store: Store, workers: int) -> bool:
    """Whether that many workers are in sync with the newest keys."""
    workers_seen, newest = store.workers.list(), store.versions.read().keys.number
    return len(workers_seen) == workers and all(worker.heartbeat.keys_version == newest for worker in workers_seen)


def leader(store: Store) -> int:
    """The process id of the rotation leader; 0 if there is none."""
    lease = store.leases.held("rotation")
    return int(lease.holder.split(":")[1]) if lease is not None else 0


@pytest.mark.long
def test_no_request_fails_and_no_token_is_denied_while_keys_rotate(on_sqlite: Deployment) -> None:
    deployment = on_sqlite
    deployment.run("db", "upgrade")
    key, channel = deployment.add_caller("--all-channels"), deployment.new_channel()
    with deployment.serve(WORKERS="2") as service, store_of(deployment) as store:
        active_keys = [wait_until(lambda: active(store), "the first key is active")]
        wait_until(lambda: all_in_sync(store, 2), "both workers are in sync")
        viewers = Viewers(service.url, key, channel)
        viewers.wait_for_more()
        for _ in range(2):
            active_keys.append(rotate(deployment))
            viewers.wait_for_token_of(active_keys[-1])
        played = viewers.stop()
        assert active(store) == active_keys[-1]
        assert len(set(active_keys)) == 3
        assert {t.token_status for t in played} == {201}
        assert {t.playback_status for t in played} == {200}
        assert {t.signed_by for t in played} == set(active_keys)
        assert "Traceback" not in service.process.err


@pytest.mark.long
def test_a_compromise_fails_no_request_and_denies_only_tokens_of_its_key(on_sqlite: Deployment) -> None:
    deployment = on_sqlite
    deployment.run("db", "upgrade", KEY_STANDBY="true")
    key, channel = deployment.add_caller("--all-channels"), deployment.new_channel()
    with deployment.serve(WORKERS="2") as service, store_of(deployment) as store:
        compromised = str(wait_until(lambda: active(store), "the first key is active"))
        wait_until(lambda: KeyState.PREPARED in states(store).values(), "a standby is ready")
        wait_until(lambda: all_in_sync(store, 2), "both workers are in sync")
        viewers = Viewers(service.url, key, channel)
        viewers.wait_for_more()
        result = deployment.run("keys", "compromise", compromised, "--yes", "--json").json
        done_at = time.monotonic()
        viewers.wait_for_more()
        played = viewers.stop()
        assert (result["done"], result["staleWorkers"]) == (True, [])
        assert result["impact"][0]["successor"] == active(store)
        assert {t.token_status for t in played} == {201}
        assert {t.signed_by for t in played if t.playback_status != 200} <= {compromised, ""}
        assert {(t.playback_status, t.signed_by) for t in played if t.started_at > done_at} == {(200, active(store))}
        pairs = deployment.ivs.client(deployment.access_key).list_playback_key_pairs()["keyPairs"]
        assert compromised not in {pair["tags"]["tokensvc:key"] for pair in pairs}, (
            "the pair of the compromised key was not deleted"
        )


@pytest.mark.long
@pytest.mark.parametrize("database", ["on_postgresql", "on_sqlite"])
def test_when_the_leader_is_killed_another_process_takes_over(request: pytest.FixtureRequest, database: str) -> None:
    deployment: Deployment = request.getfixturevalue(database)
    deployment.run("db", "upgrade")
    with store_of(deployment) as store, working(deployment, "one") as one, working(deployment, "two") as two:
        processes = {process.pid: process for process in (one, two)}
        first = wait_until(lambda: active(store), "the first key is active")
        wait_until(lambda: len(store.workers.list()) == 2, "both workers have sent a heartbeat")
        victim = processes.pop(wait_until(lambda: leader(store), "there is a rotation leader"))
        [other] = processes.values()
        read_at, lease = time.monotonic(), store.leases.held("rotation")
        victim.send(SIGKILL)
        wait_until(
            lambda: leader(store) == other.pid, "the other process is rotation leader", LEASE_SECONDS + DELAY_SECONDS
        )
        assert lease is not None
        assert time.monotonic() - read_at > lease.seconds_left - 0.2, "the lease was taken before it expired"
        second = rotate(deployment)
        assert second == active(store) != first
        assert other.stop(SIGTERM) == 0
        assert leader(store) == 0, "the lease was not released at shutdown"
        assert [worker.heartbeat.pid for worker in store.workers.list()] == [victim.pid]
        assert "Traceback" not in other.err
        assert len(deployment.ivs.client(deployment.access_key).list_playback_key_pairs()["keyPairs"]) == 2, (
            "a pair is orphaned"
        )


def test_worker_serves_metrics_and_little_else(on_sqlite: Deployment) -> None:
    deployment, port = on_sqlite, free_port()
    deployment.run("db", "upgrade")
    environ = deployment.environ | {"TOKENSVC_ADMIN_PORT": str(port)}
    with started([TOKENSVC, "worker"], deployment.folder, environ, "worker") as process:
        process.wait_until(lambda: '"running background tasks"' in process.err, "the background tasks run")
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.get("/livez").status == 200
            wait_until(lambda: b"tokensvc_rotation_leader 1.0" in client.get("/metrics").body, "it is rotation leader")
            assert client.get("/readyz").status == 200
            assert set(client.get("/openapi.json").json["paths"]) == {"/livez", "/readyz", "/metrics", "/openapi.json"}
            assert client.get("/v1/status").json["code"] == "route_not_found"


@pytest.mark.long
def test_the_status_is_on_the_admin_port_and_names_the_leader(on_sqlite: Deployment) -> None:
    deployment, port = on_sqlite, free_port()
    key = deployment.set_up("--all-channels", "--scope", "keys:read")
    with deployment.serve() as service, service.client(key) as caller:
        status = wait_until(lambda: _status_with_leader(caller), "the status names a leader and its regions")
    assert status["regions"][0]["activeKeyId"]
    with deployment.serve(ADMIN_PORT=str(port), BACKGROUND_TASKS="false") as service, service.client(key) as caller:
        assert caller.get("/v1/status").status == 404
        with Client(f"http://127.0.0.1:{port}", key) as operator:
            [worker] = wait_until(lambda: operator.get("/v1/status").json["workers"], "the worker has sent a heartbeat")
            assert worker["pid"] == service.process.pid
            assert operator.get("/v1/status").json["leader"] is None, "a process without background tasks is leader"


def _status_with_leader(caller: Client) -> Any:
    status = caller.get("/v1/status").json
    return status if status["leader"] and status["regions"] and status["regions"][0]["observedAt"] else None
