"""Arbitrary text in ids, parameters, fields and headers gets a response and never makes the store fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.storage.samples import CHANNEL
from tests.support.asgi_client import AsgiResponse, request, scope_of
from tests.support.in_memory_deployment import EAST, InMemoryDeployment
from tests.support.multi_tenant_app import MultiTenantApp
from tests.support.postgres import PostgresServer, postgres_server, unavailable_reason
from tests.support.stores import store_in_memory
from tests.web.endpoints.test_keys import ADMIN, Service
from tokensvc.keys.requests import KeyQuery
from tokensvc.revocations.requests import DenialQuery, RevocationQuery
from tokensvc.storage import migrate
from tokensvc.storage.store import Store, open_store

pytestmark = pytest.mark.long

SAMPLES = (
    "\0",
    "a\0b",
    "\x1b[2J",
    "\n",
    "\x7f",
    "\x9b31m",
    "\ud800",
    "\ufffd",
    "\u202e",
    "é",
    " ",
    "'",
    '"',
    "%",
    "\\",
    "..",
    "*",
    "a" * 65,
    "a" * 2000,
    "9" * 400,
    "-1",
    "0",
)
IDS = [sample for sample in SAMPLES if sample not in ("0", "-1")]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, migrated: Path) -> Iterator[Store]:
    """A new store on each kind of database."""
    if request.param == "sqlite":
        opened = store_in_memory(migrated)
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url(server.fresh())
        migrate.upgrade(url)
        opened = open_store(url)
    yield opened
    opened.close()


class AllRoutes:
    """All routes except those of tokens, on one store."""

    def __init__(self, store: Store, migrated: Path, folder: Path) -> None:
        self.app = MultiTenantApp(store)
        deployment = InMemoryDeployment(migrated, folder)
        deployment.store = store
        deployment.generate(EAST)
        self.keys = Service(deployment)

    def key_route(self, method: str, path: str, body: object = None, query: str = "") -> AsgiResponse:
        scope = scope_of(method, path, authorization=f"Bearer {ADMIN}") | {"query_string": query.encode()}
        return asyncio.run(request(self.keys._app, scope, b"" if body is None else json.dumps(body).encode()))

    def route(self, method: str, path: str, body: object = None, query: str = "", **headers: str) -> AsgiResponse:
        if path.startswith("/v1/keys"):
            return self.key_route(method, path, body, query)
        return self.app.request(method, f"{path}?{query}", body, **headers)


@pytest.fixture
def routes(store: Store, migrated: Path, tmp_path: Path) -> AllRoutes:
    return AllRoutes(store, migrated, tmp_path / "keys")


PATHS = [
    ("GET", "/v1/revocations/{}", "revocation_not_found"),
    ("POST", "/v1/revocations/{}/retry", "revocation_not_found"),
    ("POST", "/v1/revocations/{}/cancel", "revocation_not_found"),
    ("DELETE", "/v1/denials/{}", "denial_not_found"),
    ("GET", "/v1/keys/{}", "key_not_found"),
    ("POST", "/v1/keys/{}/compromise", "key_not_found"),
    ("GET", "/v1/keys/rotations/{}", "rotation_not_found"),
]


def test_a_malformed_id_is_not_found(routes: AllRoutes) -> None:
    for method, path, code in PATHS:
        for sample in IDS:
            response = routes.route(method, path.format(sample), {} if path.startswith("/v1/keys") else None)
            assert (response.status, response.json["code"]) == (404, code), (path, sample)


PARAMETERS = {
    "/v1/revocations": ("maxResults", "nextToken", "viewerId", "subject", "state", "channelArn"),
    "/v1/denials": ("maxResults", "nextToken", "viewerId", "subject", "channelArn"),
    "/v1/keys": ("maxResults", "nextToken"),
}
PAGE_TOKENS = {
    "/v1/revocations": RevocationQuery.page_tokens,
    "/v1/denials": DenialQuery.page_tokens,
    "/v1/keys": KeyQuery.page_tokens,
}


def test_a_list_parameter_is_accepted_or_rejected_by_name(routes: AllRoutes) -> None:
    for path, names in PARAMETERS.items():
        for name in names:
            for sample in SAMPLES:
                value = quote(sample.encode(errors="surrogatepass"))
                more = "" if name == "channelArn" else f"&channelArn={CHANNEL}"
                response = routes.route("GET", path, query=f"{name}={value}{'' if path == '/v1/keys' else more}")
                assert response.status in (200, 422), (path, name, sample, response.body)
                if response.status == 422:
                    assert {error["field"] for error in response.json["errors"]} == {name}


def test_a_well_formed_next_token_is_accepted_or_rejected(routes: AllRoutes) -> None:
    for path, tokens in PAGE_TOKENS.items():
        for text in ("0", "9" * 18, "9" * 18 + "-" + "f" * 32, "0-" + "0" * 32, "1-a", "k1"):
            for token in (text, tokens.encode(text)):
                assert routes.route("GET", path, query=f"nextToken={token}").status in (200, 422), (path, text)


FIELDS: dict[str, dict[str, Any]] = {
    "/v1/revocations": {"channelArn": CHANNEL, "viewerId": "ada", "reason": "", "denySeconds": 1},
    "/v1/denials": {"channelArn": CHANNEL, "viewerId": "ada", "reason": "", "denySeconds": 1},
    "/v1/keys/rotate": {"regions": [EAST]},
    "/v1/keys/k1/compromise": {"includeStandby": False},
}


def test_a_field_is_accepted_or_rejected(routes: AllRoutes) -> None:
    """Half of a surrogate pair is a malformed request: no UTF-8 decoder accepts it."""
    for path, fields in FIELDS.items():
        for name, value in fields.items():
            for sample in SAMPLES:
                given = [sample] if isinstance(value, list) else sample
                response = routes.route("POST", path, fields | {name: given})
                assert response.status in (201, 202, 400, 404, 422), (path, name, sample, response.body)
                unknown = routes.route("POST", path, fields | {sample: 1})
                assert unknown.status in (400, 422), (path, sample)
    for sample in SAMPLES:
        subject = {"channelArn": CHANNEL, "subject": sample}
        assert routes.route("POST", "/v1/revocations", subject).status in (202, 400, 422), len(sample)
        batch = routes.route("POST", "/v1/revocations/batch", {"revocations": [{"reason": sample, "viewerId": sample}]})
        assert batch.status in (202, 400), sample


def test_an_idempotency_key_is_accepted_or_rejected(routes: AllRoutes) -> None:
    for sample in SAMPLES:
        try:
            sample.encode("latin-1")
        except UnicodeEncodeError:
            continue  # cannot be sent in a header
        response = routes.route("POST", "/v1/revocations", FIELDS["/v1/revocations"], idempotency_key=sample)
        assert response.status in (202, 422), (sample, response.body)
