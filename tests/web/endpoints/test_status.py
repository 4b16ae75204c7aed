"""`GET /v1/status`: how the deployment does, as its store says."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.storage.samples import CHANNEL, REACH, revocation
from tests.support.asgi_client import receiving, response_of, scope_of
from tests.support.in_memory_deployment import EAST, WEST, InMemoryDeployment
from tests.support.problems import make_problem
from tests.support.simulated_ivs import SimulatedIvs
from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.background.heartbeat import UNRESPONSIVE_AFTER_SECONDS
from tokensvc.callers.api_keys import KnownSecret, key_digest
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.deployment.workers import Heartbeat, RegionStatus
from tokensvc.diagnostics.status import StatusData, StatusView
from tokensvc.errors import InsufficientScope, StoreUnavailable, Unauthenticated
from tokensvc.keys import commands
from tokensvc.revocations.leader import lease_name, read_leaders
from tokensvc.revocations.model import Priority
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.endpoints.status import StatusRoute

DASHBOARD, SHOP = "tsk_a_secret", "tsk_b_secret"
SECRETS = {
    "a": KnownSecret(key_digest(DASHBOARD), None, Caller("dashboard", CallerPolicy((), frozenset({"keys:read"})))),
    "b": KnownSecret(key_digest(SHOP), None, Caller("shop", CallerPolicy(("*",)))),
}


class Deployment:
    """A deployment whose store a test fills, and the route over it."""

    def __init__(self, stage: InMemoryDeployment) -> None:
        self.stage, self.store = stage, stage.store
        stage.clock.wall = self.store.versions.read().now
        self.route = StatusRoute(RequestAuthenticator(self.snapshot, stage.clock, lease_seconds=10**9), self.facts)

    def snapshot(self) -> Snapshot:
        now, monotonic = self.stage.clock.now(), self.stage.clock.monotonic()
        return Snapshot(secrets=SECRETS, refresh_started_at=monotonic, wall_offset_seconds=now - monotonic)

    def facts(self) -> StatusData:
        store = self.store
        return StatusData(
            store.versions.read(),
            store.deployment.read(),
            store.keys.list(),
            store.workers.list(),
            store.leases.held("rotation"),
            store.revocation_queue.backlogs(),
            read_leaders(store.leases),
        )

    def record_heartbeat(self, worker_id: str, **said: Any) -> Heartbeat:
        number, tag = self.store.versions.read().keys
        heartbeat = Heartbeat(worker_id, "here", 7, 900.0, number, 1, keys_tag=tag)._replace(**said)
        self.store.workers.record_heartbeat(heartbeat)
        return heartbeat

    def answer(self, key: str = DASHBOARD) -> Any:
        answer = response_of(self.route.status, scope_of("GET", "/v1/status", authorization=f"Bearer {key}"), b"")
        assert answer.status == 200
        assert (b"cache-control", b"no-store") in answer.headers
        said = json.loads(answer.body)
        StatusView.model_validate(said)
        return said


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> Deployment:
    return Deployment(InMemoryDeployment(migrated, tmp_path / "keys"))


def test_a_new_deployment_has_an_empty_status(deployment: Deployment) -> None:
    said = deployment.answer()
    assert said["deploymentId"] == deployment.store.deployment.read().id
    for what in ("problems", "workers", "staleWorkers", "revocations", "regions"):
        assert said[what] == []
    assert said["leader"] is None


def test_queued_revocations_are_counted_by_account_and_region(deployment: Deployment) -> None:
    wanted = [revocation("r1", "v", "w"), revocation("r2", where=(CHANNEL.replace("us-east-1", "eu-west-1"),))]
    deployment.store.revocations.accept("backend", wanted, Priority.INTERACTIVE, REACH)
    [first, second] = deployment.answer()["revocations"]
    assert (first["region"], first["queued"], second["region"], second["queued"]) == ("eu-west-1", 1, "us-east-1", 2)
    there = {"account": "123456789012", "region": "us-east-1"}
    assert second == there | {"queued": 2, "oldestSeconds": 0, "leader": None}


def test_the_dispatching_worker_is_shown_with_and_without_a_queue(deployment: Deployment) -> None:
    place, idle = parse_arn(CHANNEL).account_region, AccountRegion("123456789012", "ap-south-1")
    deployment.store.revocations.accept("backend", [revocation("r1")], Priority.INTERACTIVE, REACH)
    with write_transaction(deployment.store.engine) as connection:
        connection.execute(sa.update(revocation_entries).values(queued_at=revocation_entries.c.queued_at - 90))
    for where, holder in ((place, "here:7:a:1"), (idle, "there:8:b:12")):
        deployment.store.leases.acquire(lease_name(where), holder, 15)
    first, second = deployment.answer()["revocations"]
    assert (first["region"], first["queued"], first["oldestSeconds"]) == ("ap-south-1", 0, 0)
    assert (second["region"], second["queued"], second["oldestSeconds"]) == ("us-east-1", 1, 90)
    assert [there["leader"]["workerId"] for there in (first, second)] == ["there:8:b", "here:7:a"]
    assert all(14 < there["leader"]["leaseSecondsLeft"] <= 15 for there in (first, second))


def test_without_the_scope_nothing_is_read(deployment: Deployment) -> None:
    for authorization, refusal in ((f"Bearer {SHOP}", InsufficientScope), ("", Unauthenticated)):
        with pytest.raises(refusal):
            response_of(deployment.route.status, scope_of("GET", "/v1/status", authorization=authorization), b"")


def test_each_region_shows_its_keys_slots_and_next_action(deployment: Deployment) -> None:
    former = deployment.stage.generate().id
    active = deployment.stage.rotate()
    deployment.stage.clock.wall = deployment.store.versions.read().now
    news = RegionStatus(EAST, 3, 1, "the next one takes over", 1_900_000_000.9, 1_800_000_000.0)
    waiting = RegionStatus(WEST, 3, 3, "all slots are filled", None, 1_800_000_000.0)
    deployment.record_heartbeat("a", regions=(news, waiting))
    east, west = deployment.answer()["regions"]
    assert (east["region"], east["activeKey"]) == (EAST, active)
    assert {key["id"]: key["state"] for key in east["keys"]} == {former: "retiring", active: "active"}
    assert east["slots"] == {"ours": 2, "foreign": 1, "limit": 3}
    assert (east["nextAction"], east["nextActionAt"]) == ("the next one takes over", "2030-03-17T17:46:40Z")
    assert east["observedAt"] == "2027-01-15T08:00:00Z"
    assert west["activeKey"] is None
    assert west["slots"] == {"ours": 0, "foreign": 3, "limit": 3}
    assert (west["nextAction"], west["nextActionAt"]) == ("all slots are filled", None)


def test_a_region_that_was_never_observed_says_so(deployment: Deployment) -> None:
    deployment.stage.generate()
    [east] = deployment.answer()["regions"]
    assert east["slots"] == {"ours": 1, "foreign": None, "limit": 3}
    assert (east["nextAction"], east["nextActionAt"], east["observedAt"]) == (None, None, None)


def test_the_age_of_the_active_key_is_on_the_store_s_clock(deployment: Deployment) -> None:
    deployment.stage.clock.wall -= 3600
    deployment.stage.generate()
    [east] = deployment.answer()["regions"]
    assert 3500 <= east["activeSeconds"] <= 3600


def test_workers_show_leadership_and_staleness(deployment: Deployment) -> None:
    deployment.record_heartbeat("cut-off", problems=(make_problem("old news"),))
    with write_transaction(deployment.store.engine) as connection:
        connection.execute(
            sa.update(schema.workers).values(
                last_heartbeat_at=schema.workers.c.last_heartbeat_at - UNRESPONSIVE_AFTER_SECONDS - 1
            )
        )
    commands.request_rotation(deployment.stage.context(), [EAST], "a test")
    deployment.record_heartbeat("leader", problems=(make_problem("IVS is down"), make_problem("full")))
    full = (make_problem("full"),)
    deployment.record_heartbeat(
        "cannot-open", undecryptable=("k1",), problems=full, signer="aws-lc", fallback_reason="no AVX-512"
    )
    deployment.store.leases.acquire("rotation", "leader", 20)
    said = deployment.answer()
    workers = {worker["workerId"]: worker for worker in said["workers"]}
    assert said["staleWorkers"] == ["cut-off"]
    assert {name for name, worker in workers.items() if worker["unresponsive"]} == {"cut-off"}
    assert {name for name, worker in workers.items() if worker["isLeader"]} == {"leader"}
    assert {name for name, worker in workers.items() if not worker["inSync"]} == {"cut-off"}
    assert workers["cannot-open"]["undecryptableKeys"] == ["k1"]
    assert (workers["cannot-open"]["signer"], workers["cannot-open"]["fallbackReason"]) == ("aws-lc", "no AVX-512")
    assert (workers["leader"]["signer"], workers["leader"]["fallbackReason"]) == (None, None)
    assert said["leader"]["workerId"] == "leader"
    assert 19 < said["leader"]["leaseSecondsLeft"] <= 20
    assert sorted(said["problems"]) == ["IVS is down", "full"], "each thing once, and no old news"


def test_status_calls_no_ivs_operation(deployment: Deployment) -> None:
    deployment.stage.generate()
    ivs: SimulatedIvs = deployment.stage.ivs
    ivs.calls.clear()
    deployment.answer()
    assert not ivs.calls


def test_an_unavailable_store_is_reported_as_such(deployment: Deployment) -> None:
    def away() -> StatusData:
        raise StoreUnavailable("the store did not answer")

    deployment.route._read = away
    with pytest.raises(StoreUnavailable):
        deployment.answer()


def test_a_hanging_store_delays_no_other_request(deployment: Deployment) -> None:
    go_on = threading.Event()

    def hang() -> StatusData:
        assert go_on.wait(5)
        return deployment.facts()

    deployment.route._read = hang
    scope = scope_of("GET", "/v1/status", authorization=f"Bearer {DASHBOARD}")

    async def ask() -> int:
        asked = asyncio.create_task(deployment.route.status(scope, receiving(b""), RequestContext("request-1", 1000.0)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not asked.done(), "the loop goes on meanwhile"
        go_on.set()
        return (await asked).status

    assert asyncio.run(ask()) == 200
