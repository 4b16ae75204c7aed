"""`/v1/keys…` on a real store and vault and a simulated IVS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.asgi_client import receiving, request, scope_of
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

READER, ADMIN = "tsk_reader_secret", "tsk_admin_secret"


class Service:
    """The routes, with a caller that may read and one that may do everything."""

    def __init__(self, stage: InMemoryDeployment) -> None:
        secrets = {
            name: KnownSecret(key_digest(key), None, Caller(name, CallerPolicy((), frozenset(scopes))))
            for name, key, scopes in (
                ("reader", READER, ["keys:read"]),
                ("admin", ADMIN, ["keys:read", "keys:admin"]),
            )
        }
        self.snapshot = Snapshot(secrets=secrets)

        def snapshot() -> Snapshot:
            now, monotonic = stage.clock.now(), stage.clock.monotonic()
            return self.snapshot._replace(refresh_started_at=monotonic, wall_offset_seconds=now - monotonic)

        authorized = RequestAuthenticator(snapshot, stage.clock, lease_seconds=1e9)
        keys = KeyRoutes(
            authenticator=authorized,
            make_context=stage.context,
            workers=stage.store.workers,
            versions=stage.store.versions,
            regions=(EAST, WEST),
        )
        self._front = Application(routes_of(bind_all(KEYS, keys)), self._fallback, stage.clock, None)

    async def _fallback(self, *_: object) -> None:
        raise AssertionError("no such route")

    def get(self, path: str, status: int = 200, key: str = READER, query: str = "") -> Any:
        return self._ask("GET", path, status, key, b"", query)

    def post(self, path: str, body: object = None, status: int = 202, key: str = ADMIN) -> Any:
        return self._ask("POST", path, status, key, json.dumps({} if body is None else body).encode(), "")

    def post_slowly(self, path: str, meanwhile: Callable[[], object]) -> Any:
        """A request of the admin whose last byte comes after something happened; the reply."""
        scope = scope_of("POST", path, authorization=f"Bearer {ADMIN}")
        return asyncio.run(request(self._front, scope, receive=receiving([b"{", b"}"], meanwhile)))

    def _ask(self, method: str, path: str, status: int, key: str, body: bytes, query: str) -> Any:
        scope = scope_of(method, path, authorization=f"Bearer {key}") | {"query_string": query.encode()}
        reply = asyncio.run(request(self._front, scope, body))
        assert reply.status == status, reply.body
        assert status >= 400 or reply.headers["cache-control"] == "no-store"
        return reply.json


@pytest.fixture
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


@pytest.fixture
def service(stage: InMemoryDeployment) -> Service:
    return Service(stage)


def test_a_key_shows_its_state_and_age_in_each_region(stage: InMemoryDeployment, service: Service) -> None:
    first = stage.generate(EAST, WEST)
    stage.rotate(EAST)
    stage.clock.advance(100)
    old, new = service.get("/v1/keys")["keys"]
    assert (old["id"], old["fingerprint"]) == (first.id, first.fingerprint)
    states = {place["region"]: place for place in old["placements"]}
    assert (states[EAST]["state"], states[WEST]["state"]) == ("retiring", "active")
    assert states[EAST]["ageSeconds"] == 100
    assert states[EAST]["drainsAt"] > states[EAST]["since"]
    assert states[WEST]["drainsAt"] is None
    assert [place["region"] for place in new["placements"]] == [EAST]


def test_lists_are_paged(stage: InMemoryDeployment, service: Service) -> None:
    made = [stage.generate().id for _ in range(3)]
    first = service.get("/v1/keys", query="maxResults=2")
    second = service.get("/v1/keys", query=f"maxResults=2&nextToken={first['nextToken']}")
    assert [key["id"] for key in first["keys"] + second["keys"]] == made
    assert second["nextToken"] is None
    assert service.get("/v1/keys", 422, query="limit=2")["errors"][0]["field"] == "limit"


def test_a_key_shows_its_history_and_the_stale_workers(stage: InMemoryDeployment, service: Service) -> None:
    key = stage.generate()
    number, tag = stage.store.versions.read().keys
    stage.clock.wall = stage.store.versions.read().now  # heartbeats are dated by the store
    stage.store.workers.record_heartbeat(Heartbeat("deaf:1:a", "deaf", 1, 900, number - 1, 1))
    stage.store.workers.record_heartbeat(
        Heartbeat("blind:2:b", "blind", 2, 900, number, 1, undecryptable=(key.id,), keys_tag=tag)
    )
    shown = service.get(f"/v1/keys/{key.id}")
    assert [(step["step"], step["outcome"]) for step in shown["history"]] == [
        ("activate", "done"),
        ("import", "done"),
        ("generate", "done"),
    ]
    assert [worker["workerId"] for worker in shown["staleWorkers"]] == ["deaf:1:a"]
    assert shown["workersUnableToDecrypt"] == ["blind:2:b"]
    stage.clock.advance(100_000)
    assert service.get(f"/v1/keys/{key.id}")["staleWorkers"] == [], "silent for so long, it signs nothing"


def test_an_unknown_id_is_404_and_not_repeated(service: Service) -> None:
    for path in ("/v1/keys/k-pasted", "/v1/keys/rotations/k-pasted"):
        said = service.get(path, 404)
        assert "pasted" not in json.dumps(said)
    assert service.post("/v1/keys/k-pasted/compromise", status=404)["code"] == "key_not_found"
    assert service.get("/v1/keys/rotations/r1", 404)["code"] == "rotation_not_found"


def test_a_rotation_request_is_carried_out_by_the_rotation_leader(stage: InMemoryDeployment, service: Service) -> None:
    key = stage.generate(EAST, WEST)
    asked = service.post("/v1/keys/rotate", {"regions": [WEST]})
    assert (asked["done"], asked["requestedBy"]) == (False, "caller admin")
    assert asked["regions"] == [{"region": WEST, "previousKeyId": key.id, "activeKeyId": None}]
    assert stage.active(WEST) == key.id, "asking does nothing by itself"
    commands.reconcile_and_wait(stage.context(), (EAST, WEST))
    seen = service.get(f"/v1/keys/rotations/{asked['id']}")
    assert seen["done"] is True
    assert seen["regions"][0]["activeKeyId"] == stage.active(WEST) != key.id
    assert stage.active(EAST) == key.id


def test_a_rotation_without_regions_covers_all_of_them(stage: InMemoryDeployment, service: Service) -> None:
    stage.generate(EAST, WEST)
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
    stage: InMemoryDeployment, service: Service, path: str, body: object, field: str
) -> None:
    stage.generate(EAST, WEST)
    before = stage.store.versions.read().keys.number
    said = service.post(path, body, 422)
    assert [error["field"] for error in said["errors"]] == [field]
    assert stage.store.versions.read().keys.number == before


def test_an_infeasible_rotation_policy_is_explained_with_the_calculation(
    stage: InMemoryDeployment, service: Service
) -> None:
    stage.generate()
    stage.store.deployment.set_rotation(propagation_seconds=30, max_age_seconds=60, standby=False)
    said = service.post("/v1/keys/rotate", status=409)
    assert said["code"] == "invalid_rotation_policy"
    assert "propagation delay + drain" in said["detail"]


def test_a_compromise_is_effective_on_response_and_its_pairs_are_deleted_next(
    stage: InMemoryDeployment, service: Service
) -> None:
    key = stage.generate()
    ready = stage.generate()
    stage.clock.advance(60)
    said = service.post(f"/v1/keys/{key.id}/compromise")
    (region,) = said["regions"]
    assert region == {
        "region": EAST,
        "wasActive": True,
        "successor": ready.id,
        "outageSeconds": 0.0,
        "affectedTokenSeconds": 3600,
    }
    assert stage.active() == ready.id
    assert len(stage.ivs.pairs) == 2, "IVS was not waited for"
    stage.reconcile()
    assert len(stage.ivs.pairs) == 1
    again = service.post(f"/v1/keys/{key.id}/compromise")
    assert (again["compromisedAt"], again["regions"]) == (said["compromisedAt"], [])


def test_a_compromise_can_include_the_standby_key(stage: InMemoryDeployment, service: Service) -> None:
    key, ready = stage.generate(), stage.generate()
    (region,) = service.post(f"/v1/keys/{key.id}/compromise", {"includeStandby": True})["regions"]
    assert (region["successor"], region["outageSeconds"]) == (None, 30.0)
    assert {record.id for record, _ in stage.placements(EAST, KeyState.COMPROMISED)} == {key.id, ready.id}


def test_changes_require_the_admin_scope_and_reads_the_read_scope(stage: InMemoryDeployment, service: Service) -> None:
    key = stage.generate()
    before = stage.store.versions.read().keys.number
    for path in ("/v1/keys/rotate", f"/v1/keys/{key.id}/compromise"):
        assert service.post(path, status=403, key=READER)["code"] == "insufficient_scope"
        assert service.post(path, status=401, key="tsk_admin_wrong")["code"] == "unauthenticated"
    for path in ("/v1/keys", f"/v1/keys/{key.id}", "/v1/keys/rotations/r1"):
        service.get(path, 401, key="nobody")
    assert stage.store.versions.read().keys.number == before


def test_a_caller_disabled_while_its_body_arrives_changes_nothing(stage: InMemoryDeployment, service: Service) -> None:
    key = stage.generate()
    enabled, rotations = service.snapshot, stage.store.rotations.newest(10)
    for path in ("/v1/keys/rotate", f"/v1/keys/{key.id}/compromise"):
        service.snapshot = enabled

        def disable() -> None:
            service.snapshot = enabled._replace(secrets={})

        reply = service.post_slowly(path, disable)
        assert (reply.status, reply.json["code"]) == (401, "unauthenticated")
    [unchanged] = stage.store.keys.list()
    assert unchanged.compromised_at is None
    assert stage.store.rotations.newest(10) == rotations


def test_a_scope_withdrawn_while_the_body_arrives_is_insufficient(stage: InMemoryDeployment, service: Service) -> None:
    stage.generate()
    reader = service.snapshot.secrets["admin"]._replace(caller=service.snapshot.secrets["reader"].caller)

    def withdraw() -> None:
        service.snapshot = service.snapshot._replace(secrets={"admin": reader})

    assert service.post_slowly("/v1/keys/rotate", withdraw).json["code"] == "insufficient_scope"
