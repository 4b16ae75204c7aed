"""Injected faults as clients see them, and as the management listener plans them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server
from tests.support.case_ids import stable_repr
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def running_server() -> Iterator[LocalIvsServer]:
    with local_ivs_server() as server:
        yield server


@pytest.fixture
def server(running_server: LocalIvsServer) -> Iterator[LocalIvsServer]:
    yield running_server
    assert running_server.manage("DELETE", "/faults").status == 204


@pytest.fixture
def client(server: LocalIvsServer) -> Iterator[Any]:
    created = server.client()
    yield created
    created.close()


def plan(server: LocalIvsServer, kind: str, operation: str = "CreateChannel", **more: Any) -> dict[str, Any]:
    reply = server.manage("POST", "/faults", {"kind": kind, "operation": operation, **more})
    assert reply.status == 201, reply
    planned: dict[str, Any] = reply.json()
    return planned


def channels(client: Any) -> int:
    return len(client.list_channels(maxResults=100)["channels"])


@pytest.mark.parametrize(
    ("kind", "exception", "status"),
    [("throttle", "ThrottlingException", 429), ("error", "InternalServerException", 500)],
)
def test_an_injected_error_has_no_effect(
    server: LocalIvsServer, client: Any, kind: str, exception: str, status: int
) -> None:
    before = channels(client)
    plan(server, kind, count=1)
    with pytest.raises(getattr(client.exceptions, exception)) as raised:
        client.create_channel()
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert channels(client) == before
    client.create_channel()
    assert channels(client) == before + 1


@pytest.mark.parametrize(("kind", "created"), [("drop-before", 0), ("drop-after", 1)])
def test_a_dropped_call_closes_the_connection(server: LocalIvsServer, client: Any, kind: str, created: int) -> None:
    before = channels(client)
    plan(server, kind, count=1)
    with pytest.raises(ConnectionClosedError):
        client.create_channel()
    assert channels(client) == before + created


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "created"), [("drop-before", 1), ("drop-after", 2), ("error", 1), ("throttle", 1)])
def test_boto3s_retries_succeed(server: LocalIvsServer, client: Any, kind: str, created: int) -> None:
    """A call whose response is lost takes effect twice when it is retried, so our own steps must be idempotent."""
    before = channels(client)
    plan(server, kind, count=1)
    retrying_client = server.client(attempts=3)
    retrying_client.create_channel()
    retrying_client.close()
    assert channels(client) == before + created


@pytest.mark.slow
def test_a_delay_delays_the_response_but_not_the_effect(server: LocalIvsServer, client: Any) -> None:
    before = channels(client)
    plan(server, "delay", delaySeconds=0.6, count=2)
    started_at = time.monotonic()
    client.create_channel()
    assert time.monotonic() - started_at >= 0.6
    impatient_client = server.client(read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        impatient_client.create_channel()
    impatient_client.close()
    wait_until(lambda: channels(client) == before + 2, "both calls have their effect")


def test_entry_errors_affect_single_entries_of_a_batch(server: LocalIvsServer, client: Any) -> None:
    channel = client.create_channel()["channel"]["arn"]
    plan(server, "entry-error", "BatchStartViewerSessionRevocation", count=2)
    sessions = [{"channelArn": channel, "viewerId": f"v{n}"} for n in range(3)]
    errors = client.batch_start_viewer_session_revocation(viewerSessions=sessions)["errors"]
    assert [(error["viewerId"], error["code"]) for error in errors] == [
        ("v0", "InternalServerException"),
        ("v1", "InternalServerException"),
    ]
    client.start_viewer_session_revocation(channelArn=channel, viewerId="v0")
    assert "errors" not in client.batch_start_viewer_session_revocation(viewerSessions=sessions)


@pytest.mark.slow
def test_a_rate_with_a_seed_is_reproducible(server: LocalIvsServer, client: Any) -> None:
    def outcomes() -> list[bool]:
        plan(server, "throttle", "*", rate=0.5, seed=11)
        throttled = []
        for _ in range(30):
            try:
                client.list_channels()
                throttled.append(False)
            except client.exceptions.ThrottlingException:
                throttled.append(True)
        server.manage("DELETE", "/faults")
        return throttled

    first = outcomes()
    assert set(first) == {True, False}
    assert outcomes() == first


@pytest.mark.slow
def test_planned_faults_are_shown_until_they_are_cleared(server: LocalIvsServer, client: Any) -> None:
    planned = plan(server, "delay", "GetChannel", delaySeconds=2, rate=0.25, count=4, seed=9)
    assert planned == {
        "number": planned["number"],
        "kind": "delay",
        "operation": "GetChannel",
        "rate": 0.25,
        "count": 4,
        "delaySeconds": 2,
        "seed": 9,
        "drawn": 0,
    }
    assert server.manage("GET", "/faults").json() == {"faults": [planned]}
    server.manage("DELETE", "/faults")
    assert server.manage("GET", "/faults").json() == {"faults": []}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"kind"}),
        ({"kind": "explode"}, {"kind"}),
        ({"kind": "error", "operation": "MakeCoffee"}, {"operation"}),
        ({"kind": "error", "rate": 1.5, "count": 0}, {"rate", "count"}),
        ({"kind": "error", "rate": True, "seed": "x"}, {"rate", "seed"}),
        ({"kind": "delay"}, {"delaySeconds"}),
        ({"kind": "delay", "delaySeconds": 61}, {"delaySeconds"}),
        ({"kind": "throttle", "delaySeconds": 1}, {"delaySeconds"}),
        ({"kind": "entry-error", "operation": "CreateChannel"}, {"operation"}),
        ({"kind": "error", "probability": 1}, {"probability"}),
    ],
    ids=stable_repr,
)
def test_an_invalid_fault_is_rejected_by_field(server: LocalIvsServer, body: dict[str, Any], fields: set[str]) -> None:
    reply = server.manage("POST", "/faults", body)
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert {error["field"] for error in reply.json()["errors"]} == fields
    assert server.manage("GET", "/faults").json() == {"faults": []}
