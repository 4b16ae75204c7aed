"""Every caller is authenticated and limited to its policy."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.support.deployment import Deployment, Service
from tests.support.http_client import Client, Response, client_per_worker
from tests.support.processes import wait_until

pytestmark = pytest.mark.long

IN_SYNC_WITHIN_SECONDS = 6.0
"""Within this time every worker must know of a change."""


@pytest.fixture(scope="module")
def two_workers(deployment: Deployment) -> Iterator[Service]:
    """The same deployment, served by two workers."""
    with deployment.serve(WORKERS="2") as running:
        yield running


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer tsk_",
        "Bearer tsk_000000000000_wrong",
        "Basic dXNlcjpwYXNz",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "garbage",
        "Bearer \xe9\xff",
    ],
)
def test_requests_without_a_valid_key_get_the_same_401(service: Service, channel: Any, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    with service.client() as client:
        response = client.request("POST", "/v1/tokens", b'{"channelArn": "x"}', headers)
        batch = client.request("POST", "/v1/tokens/batch")
    assert response.status == 401
    error = ', error="invalid_token"' if header else ""
    assert response.headers["www-authenticate"] == f'Bearer realm="tokensvc"{error}, scope="tokens:issue"'
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json["code"], response.body) == ("unauthenticated", batch.body)


def test_a_wrong_secret_is_rejected_like_an_unknown_key(service: Service, key: str) -> None:
    with service.client(key[:-1] + ("A" if key[-1] != "A" else "B")) as wrong, service.client("tsk_0_0") as unknown:
        assert wrong.request_token(channelArn="x").body == unknown.request_token(channelArn="x").body


def test_an_api_key_is_shown_once_and_not_stored(deployment: Deployment) -> None:
    result = deployment.run("callers", "add", "once", "--all-channels")
    key = result.out.split()[0]
    assert key.startswith("tsk_")
    assert (result.out + result.err).count(key) == 1
    listed = deployment.run("callers", "list").out + deployment.run("callers", "list", "--json").out
    assert "once" in listed
    secret = key.split("_", 2)[2]
    assert secret not in listed
    with sqlite3.connect(deployment.store) as store:
        dump = "\n".join(map(repr, _everything(store)))
    store.close()
    assert "once" in dump
    for path in deployment.folder.glob("store.db*"):
        assert secret.encode() not in path.read_bytes()
    assert secret not in dump


def _everything(store: sqlite3.Connection) -> Iterator[Any]:
    for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        yield from store.execute(f'SELECT * FROM "{name}"')


def test_two_api_keys_are_valid_during_a_rotation(deployment: Deployment, service: Service, channel: Any) -> None:
    old = deployment.run("callers", "add", "rotating", "--all-channels", "--json").json["apiKey"]
    new = deployment.run("callers", "rotate-secret", "rotating", "--overlap", "60", "--json").json["apiKey"]
    with service.client(old) as with_old, service.client(new) as with_new:
        _first_with_status(with_new, channel, 201)
        assert with_old.request_token(channelArn=channel["arn"], viewerId="ada").status == 201
        newest = deployment.run("callers", "rotate-secret", "rotating", "--overlap", "1", "--json").json["apiKey"]
        _first_with_status(with_old, channel, 401)
        _first_with_status(with_new, channel, 401)
    with service.client(newest) as with_newest:
        assert with_newest.request_token(channelArn=channel["arn"], viewerId="ada").status == 201


def test_a_disabled_caller_is_rejected_by_every_worker_within_two_seconds(
    deployment: Deployment, two_workers: Service, channel: Any
) -> None:
    key = deployment.run("callers", "add", "leaving", "--all-channels", "--json").json["apiKey"]
    with client_per_worker(two_workers.url, key, 2) as workers:
        for client in workers.values():
            _first_with_status(client, channel, 201)
        assert deployment.run("callers", "disable", "leaving", code=2).out == ""
        deployment.run("callers", "disable", "leaving", "--yes")
        disabled_at = time.monotonic()
        for worker, client in workers.items():
            assert _first_with_status(client, channel, 401).worker == worker, "the connection was not kept alive"
        assert time.monotonic() - disabled_at <= IN_SYNC_WITHIN_SECONDS


def test_channel_patterns_scopes_ttl_limits_and_viewer_rules_apply(
    deployment: Deployment, service: Service, channel: Any
) -> None:
    allowed, other = channel["arn"], deployment.new_channel()["arn"]
    key = deployment.add_caller("--channels", allowed, "--max-ttl", "60")
    reader_key = deployment.add_caller("--all-channels", "--scope", "keys:read")
    with service.client(key) as caller, service.client(reader_key) as reader:
        response = _first_with_status(caller, channel, 201).json
        claims = jwt.decode(response["token"], options={"verify_signature": False})
        assert claims["exp"] - claims["aws:viewer-session-version"] == 60
        assert caller.request_token(channelArn=allowed, viewerId="ada", ttlSeconds=60).status == 201

        _assert_problem(caller.request_token(channelArn=other, viewerId="ada"), 403, "channel_not_allowed")
        _assert_problem(caller.request_token(channelArn=allowed), 403, "anonymous_viewer_not_allowed")
        too_long = caller.request_token(channelArn=allowed, viewerId="ada", ttlSeconds=61)
        _assert_problem(too_long, 422, "invalid_request")
        assert [error["field"] for error in too_long.json["errors"]] == ["ttlSeconds"]
        _assert_problem(_first_with_status(reader, channel, 403), 403, "insufficient_scope")

        batch = caller.request_batch([{"channelArn": allowed, "viewerId": "a"}, {"channelArn": other, "viewerId": "a"}])
        assert [r.get("problem", {}).get("code") for r in batch.json["results"]] == [None, "channel_not_allowed"]


def test_anonymous_viewers_may_get_the_longest_ttl(caller: Client, channel: Any) -> None:
    response = caller.token(channelArn=channel["arn"], ttlSeconds=3600)
    claims = jwt.decode(response["token"], options={"verify_signature": False})
    assert claims.keys() == {"aws:channel-arn", "exp"}
    assert response.keys() == {"token", "playbackUrl", "expiresAt", "refreshAfter", "requiresOriginHeader"}
    _assert_problem(caller.request_token(channelArn=channel["arn"], ttlSeconds=3601), 422, "invalid_request")


def _first_with_status(client: Client, channel: Any, status: int) -> Response:
    """The first response with that status; it must come before every worker has to know of a change."""

    def response_with_status() -> Response | None:
        response = client.request_token(channelArn=channel["arn"], viewerId="ada")
        return response if response.status == status else None

    found = wait_until(response_with_status, f"a response has status {status}", IN_SYNC_WITHIN_SECONDS)
    assert found is not None
    return found


def _assert_problem(response: Response, status: int, code: str) -> None:
    assert (response.status, response.json["code"]) == (status, code)
