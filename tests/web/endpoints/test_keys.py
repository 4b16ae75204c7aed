"""`/v1/keys…` on a real store and vault and a simulated IVS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.asgi_client import make_receive, request, scope_of
from tests.support.audit import EVENT
from tests.support.in_memory_deployment import EAST, WEST, InMemoryDeployment
from tokensvc.callers.api_keys import KnownSecret, key_digest
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.deployment.workers import Heartbeat
from tokensvc.keys import commands
from tokensvc.keys.lifecycle import KeyState
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.app import Application
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.endpoints.keys import KeyRoutes
from tokensvc.web.operations import bind_all, routes_of
from tokensvc.web.routes import KEYS

pytestmark = pytest.mark.slow

READER, ADMIN = "tsk_reader_secret", "tsk_admin_secret"


class Service:
    """The key routes with two callers: a reader and an admin."""

    def __init__(self, deployment: InMemoryDeployment) -> None:
        secrets = {
            name: KnownSecret(key_digest(key), None, Caller(name, CallerPolicy((), frozenset(scopes))))
            for name, key, scopes in (
                ("reader", READER, ["keys:read"]),
                ("admin", ADMIN, ["keys:read", "keys:admin"]),
            )
        }
        self.snapshot = Snapshot(secrets=secrets)

        def snapshot() -> Snapshot:
            now, monotonic = deployment.clock.now(), deployment.clock.monotonic()
            return self.snapshot._replace(refresh_started_at=monotonic, wall_offset_seconds=now - monotonic)

        authenticator = RequestAuthenticator(snapshot, deployment.clock, lease_seconds=1e9)
        keys = KeyRoutes(
            authenticator=authenticator,
            make_context=deployment.context,
            workers=deployment.store.workers,
            versions=deployment.store.versions,
            regions=(EAST, WEST),
        )
        self._app = Application(routes_of(bind_all(KEYS, keys)), self._fallback, deployment.clock, None)

    async def _fallback(self, *_: object) -> None:
        raise AssertionError("no such route")

    def get(self, path: str, status: int = 200, key: str = READER, query: str = "") -> Any:
        return self._request("GET", path, status, key, b"", query)

    def post(self, path: str, body: object = None, status: int = 202, key: str = ADMIN) -> Any:
        return self._request("POST", path, status, key, json.dumps({} if body is None else body).encode(), "")

    def post_slowly(self, path: str, meanwhile: Callable[[], object]) -> Any:
        """Send an admin request whose last byte arrives after `meanwhile` was called."""
        scope = scope_of("POST", path, authorization=f"Bearer {ADMIN}")
        return asyncio.run(request(self._app, scope, receive=make_receive([b"{", b"}"], meanwhile)))

    def _request(self, method: str, path: str, status: int, key: str, body: bytes, query: str) -> Any:
        scope = scope_of(method, path, authorization=f"Bearer {key}") | {"query_string": query.encode()}
        response = asyncio.run(request(self._app, scope, body))
        assert response.status == status, response.body
        assert status >= 400 or response.headers["cache-control"] == "no-store"
        return response.json


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


@pytest.fixture
def service(deployment: InMemoryDeployment) -> Service:
    return Service(deployment)


def test_a_key_shows_its_state_and_age_in_each_region(deployment: InMemoryDeployment, service: Service) -> None:
    first = deployment.generate(EAST, WEST)
    deployment.rotate(EAST)
    deployment.clock.advance(100)
    old, new = service.get("/v1/keys")["keys"]
    assert (old["id"], old["fingerprint"]) == (first.id, first.fingerprint)
    states = {placement["region"]: placement for placement in old["placements"]}
    assert (states[EAST]["state"], states[WEST]["state"]) == ("retiring", "active")
    assert states[EAST]["ageSeconds"] == 100
    assert states[EAST]["drainsAt"] > states[EAST]["since"]
    assert states[WEST]["drainsAt"] is None
    assert [placement["region"] for placement in new["placements"]] == [EAST]


def test_lists_are_paged(deployment: InMemoryDeployment, service: Service) -> None:
    key_ids = [deployment.generate().id for _ in range(3)]
    first = service.get("/v1/keys", query="maxResults=2")
    second = service.get("/v1/keys", query=f"maxResults=2&nextToken={first['nextToken']}")
    assert [key["id"] for key in first["keys"] + second["keys"]] == key_ids
    assert second["nextToken"] is None
    assert service.get("/v1/keys", 422, query="limit=2")["errors"][0]["field"] == "limit"


def test_a_key_shows_its_history_and_the_stale_workers(deployment: InMemoryDeployment, service: Service) -> None:
    key = deployment.generate()
    number, tag = deployment.store.versions.read().keys
    deployment.clock.wall = deployment.store.versions.read().now  # the store dates heartbeats
    deployment.store.workers.record_heartbeat(Heartbeat("stale:1:a", "stale", 1, 900, number - 1, 1))
    deployment.store.workers.record_heartbeat(
        Heartbeat("undecrypting:2:b", "undecrypting", 2, 900, number, 1, undecryptable=(key.id,), keys_tag=tag)
    )
    shown = service.get(f"/v1/keys/{key.id}")
    assert [(step["step"], step["outcome"]) for step in shown["history"]] == [
        ("activate", "done"),
        ("import", "done"),
        ("generate", "done"),
    ]
    assert [worker["workerId"] for worker in shown["staleWorkers"]] == ["stale:1:a"]
    assert shown["workersUnableToDecrypt"] == ["undecrypting:2:b"]
    deployment.clock.advance(100_000)
    assert service.get(f"/v1/keys/{key.id}")["staleWorkers"] == [], (
        "unresponsive for longer than its lease, it signs nothing"
    )


def test_an_unknown_id_is_404_and_not_repeated(service: Service) -> None:
    for path in ("/v1/keys/k-pasted", "/v1/keys/rotations/k-pasted"):
        shown = service.get(path, 404)
        assert "pasted" not in json.dumps(shown)
    assert service.post("/v1/keys/k-pasted/compromise", status=404)["code"] == "key_not_found"
    assert service.get("/v1/keys/rotations/r1", 404)["code"] == "rotation_not_found"


def test_a_rotation_request_is_carried_out_by_the_rotation_leader(
    deployment: InMemoryDeployment, service: Service
) -> None:
    key = deployment.generate(EAST, WEST)
    requested = service.post("/v1/keys/rotate", {"regions": [WEST]})
    assert (requested["done"], requested["requestedBy"]) == (False, "caller admin")
    assert requested["regions"] == [{"region": WEST, "previousKeyId": key.id, "activeKeyId": None}]
    assert deployment.active(WEST) == key.id, "the request alone changes nothing"
    commands.reconcile_and_wait(deployment.context(), (EAST, WEST))
    finished = service.get(f"/v1/keys/rotations/{requested['id']}")
    assert finished["done"] is True
    assert finished["regions"][0]["activeKeyId"] == deployment.active(WEST) != key.id
    assert deployment.active(EAST) == key.id


def test_a_rotation_without_regions_covers_all_of_them(deployment: InMemoryDeployment, service: Service) -> None:
    deployment.generate(EAST, WEST)
    assert [region["region"] for region in service.post("/v1/keys/rotate")["regions"]] == [EAST, WEST]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/keys/rotate", {"regions": ["eu-west-9"]}, "regions[0]"),
        ("/v1/keys/rotate", {"regions": []}, "regions"),
        ("/v1/keys/rotate", {"region": EAST}, "region"),
        ("/v1/keys/k1/compromise", {"include_standby": True}, "include_standby"),
        ("/v1/keys/k1/compromise", {"includeStandby": "yes"}, "includeStandby"),
    ],
)
def test_bad_fields_are_rejected_by_name(
    deployment: InMemoryDeployment, service: Service, path: str, body: object, field: str
) -> None:
    deployment.generate(EAST, WEST)
    before = deployment.store.versions.read().keys.number
    shown = service.post(path, body, 422)
    assert [error["field"] for error in shown["errors"]] == [field]
    assert deployment.store.versions.read().keys.number == before


def test_an_infeasible_rotation_policy_is_explained_with_the_calculation(
    deployment: InMemoryDeployment, service: Service
) -> None:
    deployment.generate()
    deployment.store.deployment.set_rotation(propagation_seconds=30, max_age_seconds=60, standby=False, event=EVENT)
    shown = service.post("/v1/keys/rotate", status=409)
    assert shown["code"] == "invalid_rotation_policy"
    assert "propagation delay + drain" in shown["detail"]


def test_a_compromise_is_effective_on_response_and_its_pairs_are_deleted_next(
    deployment: InMemoryDeployment, service: Service
) -> None:
    key = deployment.generate()
    ready = deployment.generate()
    deployment.clock.advance(60)
    shown = service.post(f"/v1/keys/{key.id}/compromise")
    (region,) = shown["regions"]
    assert region == {
        "region": EAST,
        "wasActive": True,
        "successor": ready.id,
        "outageSeconds": 0.0,
        "affectedTokenSeconds": 3600,
    }
    assert deployment.active() == ready.id
    assert len(deployment.ivs.pairs) == 2, "the response does not wait for IVS"
    deployment.reconcile()
    assert len(deployment.ivs.pairs) == 1
    again = service.post(f"/v1/keys/{key.id}/compromise")
    assert (again["compromisedAt"], again["regions"]) == (shown["compromisedAt"], [])


def test_a_compromise_can_include_the_standby_key(deployment: InMemoryDeployment, service: Service) -> None:
    key, ready = deployment.generate(), deployment.generate()
    (region,) = service.post(f"/v1/keys/{key.id}/compromise", {"includeStandby": True})["regions"]
    assert (region["successor"], region["outageSeconds"]) == (None, 30.0)
    assert {record.id for record, _ in deployment.placements(EAST, KeyState.COMPROMISED)} == {key.id, ready.id}


def test_changes_require_the_admin_scope_and_reads_the_read_scope(
    deployment: InMemoryDeployment, service: Service
) -> None:
    key = deployment.generate()
    before = deployment.store.versions.read().keys.number
    for path in ("/v1/keys/rotate", f"/v1/keys/{key.id}/compromise"):
        assert service.post(path, status=403, key=READER)["code"] == "insufficient_scope"
        assert service.post(path, status=401, key="tsk_admin_wrong")["code"] == "unauthenticated"
    for path in ("/v1/keys", f"/v1/keys/{key.id}", "/v1/keys/rotations/r1"):
        service.get(path, 401, key="nobody")
    assert deployment.store.versions.read().keys.number == before


def test_a_caller_disabled_while_its_body_arrives_changes_nothing(
    deployment: InMemoryDeployment, service: Service
) -> None:
    key = deployment.generate()
    enabled, rotations = service.snapshot, deployment.store.rotation_requests.newest(10)
    for path in ("/v1/keys/rotate", f"/v1/keys/{key.id}/compromise"):
        service.snapshot = enabled

        def disable() -> None:
            service.snapshot = enabled._replace(secrets={})

        response = service.post_slowly(path, disable)
        assert (response.status, response.json["code"]) == (401, "unauthenticated")
    [unchanged] = deployment.store.keys.list()
    assert unchanged.compromised_at is None
    assert deployment.store.rotation_requests.newest(10) == rotations


def test_a_scope_withdrawn_while_the_body_arrives_is_insufficient(
    deployment: InMemoryDeployment, service: Service
) -> None:
    deployment.generate()
    reader = service.snapshot.secrets["admin"]._replace(caller=service.snapshot.secrets["reader"].caller)

    def withdraw() -> None:
        service.snapshot = service.snapshot._replace(secrets={"admin": reader})

    assert service.post_slowly("/v1/keys/rotate", withdraw).json["code"] == "insufficient_scope"
