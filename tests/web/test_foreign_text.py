"""Whatever text a request holds, where ids, parameters, fields and headers are: an answer, and never a failed store."""

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

JUNK = (
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
IDS = [junk for junk in JUNK if junk not in ("0", "-1")]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, migrated: Path) -> Iterator[Store]:
    """A new store on each database in turn."""
    if request.param == "sqlite":
        opened = store_in_memory(migrated)
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url(server.fresh())
        migrate.upgrade(url)
        opened = open_store(url)
    yield opened
    opened.close()


class Deployment:
    """Every route but the tokens', on one store."""

    def __init__(self, store: Store, migrated: Path, folder: Path) -> None:
        self.counter = MultiTenantApp(store)
        stage = InMemoryDeployment(migrated, folder)
        stage.store = store
        stage.generate(EAST)
        self.keys = Service(stage)

    def key_route(self, method: str, path: str, body: object = None, query: str = "") -> AsgiResponse:
        scope = scope_of(method, path, authorization=f"Bearer {ADMIN}") | {"query_string": query.encode()}
        return asyncio.run(request(self.keys._front, scope, b"" if body is None else json.dumps(body).encode()))

    def route(self, method: str, path: str, body: object = None, query: str = "", **headers: str) -> AsgiResponse:
        if path.startswith("/v1/keys"):
            return self.key_route(method, path, body, query)
        return self.counter.request(method, f"{path}?{query}", body, **headers)


@pytest.fixture
def deployment(store: Store, migrated: Path, tmp_path: Path) -> Deployment:
    return Deployment(store, migrated, tmp_path / "keys")


PATHS = [
    ("GET", "/v1/revocations/{}", "revocation_not_found"),
    ("POST", "/v1/revocations/{}/retry", "revocation_not_found"),
    ("POST", "/v1/revocations/{}/cancel", "revocation_not_found"),
    ("DELETE", "/v1/denials/{}", "denial_not_found"),
    ("GET", "/v1/keys/{}", "key_not_found"),
    ("POST", "/v1/keys/{}/compromise", "key_not_found"),
    ("GET", "/v1/keys/rotations/{}", "rotation_not_found"),
]


def test_a_malformed_id_is_not_found(deployment: Deployment) -> None:
    for method, path, code in PATHS:
        for junk in IDS:
            reply = deployment.route(method, path.format(junk), {} if path.startswith("/v1/keys") else None)
            assert (reply.status, reply.json["code"]) == (404, code), (path, junk)


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


def test_a_list_parameter_is_accepted_or_rejected_by_name(deployment: Deployment) -> None:
    for path, names in PARAMETERS.items():
        for name in names:
            for junk in JUNK:
                value = quote(junk.encode(errors="surrogatepass"))
                more = "" if name == "channelArn" else f"&channelArn={CHANNEL}"
                reply = deployment.route("GET", path, query=f"{name}={value}{'' if path == '/v1/keys' else more}")
                assert reply.status in (200, 422), (path, name, junk, reply.body)
                if reply.status == 422:
                    assert {error["field"] for error in reply.json["errors"]} == {name}


def test_a_well_formed_next_token_is_accepted_or_rejected(deployment: Deployment) -> None:
    for path, tokens in PAGE_TOKENS.items():
        for text in ("0", "9" * 18, "9" * 18 + "-" + "f" * 32, "0-" + "0" * 32, "1-a", "k1"):
            for token in (text, tokens.encode(text)):
                assert deployment.route("GET", path, query=f"nextToken={token}").status in (200, 422), (path, text)


FIELDS: dict[str, dict[str, Any]] = {
    "/v1/revocations": {"channelArn": CHANNEL, "viewerId": "ada", "reason": "", "denySeconds": 1},
    "/v1/denials": {"channelArn": CHANNEL, "viewerId": "ada", "reason": "", "denySeconds": 1},
    "/v1/keys/rotate": {"regions": [EAST]},
    "/v1/keys/k1/compromise": {"includeStandby": False},
}


def test_a_field_is_accepted_or_rejected(deployment: Deployment) -> None:
    """Half of a surrogate pair is a request that cannot be read: no decoder of UTF-8 takes it."""
    for path, fields in FIELDS.items():
        for name, value in fields.items():
            for junk in JUNK:
                given = [junk] if isinstance(value, list) else junk
                reply = deployment.route("POST", path, fields | {name: given})
                assert reply.status in (201, 202, 400, 404, 422), (path, name, junk, reply.body)
                unknown = deployment.route("POST", path, fields | {junk: 1})
                assert unknown.status in (400, 422), (path, junk)
    for junk in JUNK:
        subject = {"channelArn": CHANNEL, "subject": junk}
        assert deployment.route("POST", "/v1/revocations", subject).status in (202, 400, 422), len(junk)
        batch = deployment.route("POST", "/v1/revocations/batch", {"revocations": [{"reason": junk, "viewerId": junk}]})
        assert batch.status in (202, 400), junk


def test_an_idempotency_key_is_accepted_or_rejected(deployment: Deployment) -> None:
    for junk in JUNK:
        try:
            junk.encode("latin-1")
        except UnicodeEncodeError:
            continue  # no header can hold it
        reply = deployment.route("POST", "/v1/revocations", FIELDS["/v1/revocations"], idempotency_key=junk)
        assert reply.status in (202, 422), (junk, reply.body)
