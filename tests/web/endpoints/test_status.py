"""`GET /v1/status`: the state of the deployment, read from its store."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.storage.samples import CHANNEL, MAX_STALENESS_SECONDS, revocation
from tests.support.asgi_client import make_receive, response_of, scope_of
from tests.support.audit import EVENT
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

pytestmark = pytest.mark.slow

DASHBOARD, SHOP = "tsk_a_secret", "tsk_b_secret"
SECRETS = {
    "a": KnownSecret(key_digest(DASHBOARD), None, Caller("dashboard", CallerPolicy((), frozenset({"keys:read"})))),
    "b": KnownSecret(key_digest(SHOP), None, Caller("shop", CallerPolicy(("*",)))),
}


class StatusService:
    """The status route over a deployment that a test fills."""

    def __init__(self, deployment: InMemoryDeployment) -> None:
        self.deployment, self.store = deployment, deployment.store
        deployment.clock.wall = self.store.versions.read().now
        self.route = StatusRoute(RequestAuthenticator(self.snapshot, deployment.clock, lease_seconds=10**9), self.read)

    def snapshot(self) -> Snapshot:
        now, monotonic = self.deployment.clock.now(), self.deployment.clock.monotonic()
        return Snapshot(secrets=SECRETS, refresh_started_at=monotonic, wall_offset_seconds=now - monotonic)

    def read(self) -> StatusData:
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

    def record_heartbeat(self, worker_id: str, **fields: Any) -> Heartbeat:
        number, tag = self.store.versions.read().keys
        heartbeat = Heartbeat(worker_id, "here", 7, 900.0, number, 1, keys_tag=tag)._replace(**fields)
        self.store.workers.record_heartbeat(heartbeat)
        return heartbeat

    def get(self, key: str = DASHBOARD) -> Any:
        response = response_of(self.route.status, scope_of("GET", "/v1/status", authorization=f"Bearer {key}"), b"")
        assert response.status == 200
        assert (b"cache-control", b"no-store") in response.headers
        shown = json.loads(response.body)
        StatusView.model_validate(shown)
        return shown


@pytest.fixture
def service(migrated: Path, tmp_path: Path) -> StatusService:
    return StatusService(InMemoryDeployment(migrated, tmp_path / "keys"))


def test_a_new_deployment_has_an_empty_status(service: StatusService) -> None:
    shown = service.get()
    assert shown["deploymentId"] == service.store.deployment.read().id
    for field in ("problems", "workers", "staleWorkers", "revocations", "regions"):
        assert shown[field] == []
    assert shown["leader"] is None


def test_queued_revocations_are_counted_by_account_and_region(service: StatusService) -> None:
    wanted = [revocation("r1", "v", "w"), revocation("r2", where=(CHANNEL.replace("us-east-1", "eu-west-1"),))]
    service.store.revocations.accept("backend", wanted, Priority.INTERACTIVE, MAX_STALENESS_SECONDS, events=[EVENT])
    [first, second] = service.get()["revocations"]
    assert (first["region"], first["queued"], second["region"], second["queued"]) == ("eu-west-1", 1, "us-east-1", 2)
    labels = {"account": "123456789012", "region": "us-east-1"}
    assert second == labels | {"queued": 2, "oldestAgeSeconds": 0, "leader": None}


def test_the_dispatching_worker_is_shown_with_and_without_a_queue(service: StatusService) -> None:
    account_region, idle_region = parse_arn(CHANNEL).account_region, AccountRegion("123456789012", "ap-south-1")
    service.store.revocations.accept(
        "backend", [revocation("r1")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, events=[EVENT]
    )
    with write_transaction(service.store.engine) as connection:
        connection.execute(sa.update(revocation_entries).values(queued_at=revocation_entries.c.queued_at - 90))
    for leased, holder in ((account_region, "here:7:a:1"), (idle_region, "elsewhere:8:b:12")):
        service.store.leases.acquire(lease_name(leased), holder, 15)
    first, second = service.get()["revocations"]
    assert (first["region"], first["queued"], first["oldestAgeSeconds"]) == ("ap-south-1", 0, 0)
    assert (second["region"], second["queued"], second["oldestAgeSeconds"]) == ("us-east-1", 1, 90)
    assert [entry["leader"]["workerId"] for entry in (first, second)] == ["elsewhere:8:b", "here:7:a"]
    assert all(14 < entry["leader"]["leaseSecondsLeft"] <= 15 for entry in (first, second))


def test_without_the_scope_nothing_is_read(service: StatusService) -> None:
    for authorization, error in ((f"Bearer {SHOP}", InsufficientScope), ("", Unauthenticated)):
        with pytest.raises(error):
            response_of(service.route.status, scope_of("GET", "/v1/status", authorization=authorization), b"")


def test_each_region_shows_its_keys_slots_and_next_action(service: StatusService) -> None:
    retiring = service.deployment.generate().id
    active = service.deployment.rotate()
    service.deployment.clock.wall = service.store.versions.read().now
    observed = RegionStatus(EAST, 3, 1, "the next one takes over", 1_900_000_000.9, 1_800_000_000.0)
    waiting = RegionStatus(WEST, 3, 3, "all slots are filled", None, 1_800_000_000.0)
    service.record_heartbeat("a", regions=(observed, waiting))
    east, west = service.get()["regions"]
    assert (east["region"], east["activeKeyId"]) == (EAST, active)
    assert {key["id"]: key["state"] for key in east["keys"]} == {retiring: "retiring", active: "active"}
    assert east["slots"] == {"ours": 2, "foreign": 1, "limit": 3}
    assert (east["nextAction"], east["nextActionAt"]) == ("the next one takes over", "2030-03-17T17:46:40Z")
    assert east["observedAt"] == "2027-01-15T08:00:00Z"
    assert west["activeKeyId"] is None
    assert west["slots"] == {"ours": 0, "foreign": 3, "limit": 3}
    assert (west["nextAction"], west["nextActionAt"]) == ("all slots are filled", None)


def test_a_region_that_was_never_observed_says_so(service: StatusService) -> None:
    service.deployment.generate()
    [east] = service.get()["regions"]
    assert east["slots"] == {"ours": 1, "foreign": None, "limit": 3}
    assert (east["nextAction"], east["nextActionAt"], east["observedAt"]) == (None, None, None)


def test_the_age_of_the_active_key_is_on_the_store_s_clock(service: StatusService) -> None:
    service.deployment.clock.wall -= 3600
    service.deployment.generate()
    [east] = service.get()["regions"]
    assert 3500 <= east["activeSeconds"] <= 3600


def test_workers_show_leadership_and_staleness(service: StatusService) -> None:
    service.record_heartbeat("cut-off", problems=(make_problem("outdated"),))
    with write_transaction(service.store.engine) as connection:
        connection.execute(
            sa.update(schema.workers).values(
                last_heartbeat_at=schema.workers.c.last_heartbeat_at - UNRESPONSIVE_AFTER_SECONDS - 1
            )
        )
    commands.request_rotation(service.deployment.context(), [EAST], "a test")
    service.record_heartbeat("leader", problems=(make_problem("IVS is down"), make_problem("full")))
    full = (make_problem("full"),)
    service.record_heartbeat(
        "undecrypting", undecryptable=("k1",), problems=full, signer="aws-lc", fallback_reason="no AVX-512"
    )
    service.store.leases.acquire("rotation", "leader", 20)
    shown = service.get()
    workers = {worker["workerId"]: worker for worker in shown["workers"]}
    assert shown["staleWorkers"] == ["cut-off"]
    assert {name for name, worker in workers.items() if worker["unresponsive"]} == {"cut-off"}
    assert {name for name, worker in workers.items() if worker["isLeader"]} == {"leader"}
    assert {name for name, worker in workers.items() if not worker["inSync"]} == {"cut-off"}
    assert workers["undecrypting"]["undecryptableKeys"] == ["k1"]
    assert (workers["undecrypting"]["signer"], workers["undecrypting"]["fallbackReason"]) == ("aws-lc", "no AVX-512")
    assert (workers["leader"]["signer"], workers["leader"]["fallbackReason"]) == (None, None)
    assert shown["leader"]["workerId"] == "leader"
    assert 19 < shown["leader"]["leaseSecondsLeft"] <= 20
    assert sorted(shown["problems"]) == ["IVS is down", "full"], "each problem once, and none of an unresponsive worker"


def test_status_calls_no_ivs_operation(service: StatusService) -> None:
    service.deployment.generate()
    ivs: SimulatedIvs = service.deployment.ivs
    ivs.calls.clear()
    service.get()
    assert not ivs.calls


def test_an_unavailable_store_is_reported_as_such(service: StatusService) -> None:
    def unavailable() -> StatusData:
        raise StoreUnavailable("the store did not respond")

    service.route._read = unavailable
    with pytest.raises(StoreUnavailable):
        service.get()


def test_a_hanging_store_delays_no_other_request(service: StatusService) -> None:
    proceed = threading.Event()

    def hang() -> StatusData:
        assert proceed.wait(5)
        return service.read()

    service.route._read = hang
    scope = scope_of("GET", "/v1/status", authorization=f"Bearer {DASHBOARD}")

    async def get_status() -> int:
        request = asyncio.create_task(
            service.route.status(scope, make_receive(b""), RequestContext("request-1", 1000.0))
        )
        for _ in range(3):
            await asyncio.sleep(0)
        assert not request.done(), "the loop keeps running"
        proceed.set()
        return (await request).status

    assert asyncio.run(get_status()) == 200
