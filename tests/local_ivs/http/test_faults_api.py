"""Faults on request, as a client feels them, and as the management listener plans them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from tests.local_ivs.http.own_servers import Staged, staged
from tests.support.case_ids import stable_repr


@pytest.fixture(scope="module")
def opened() -> Iterator[Staged]:
    with staged() as stage:
        yield stage


@pytest.fixture
def stage(opened: Staged) -> Iterator[Staged]:
    yield opened
    assert opened.manage("DELETE", "/faults").status == 204


@pytest.fixture
def client(stage: Staged) -> Iterator[Any]:
    opened = stage.client()
    yield opened
    opened.close()


def plan(stage: Staged, kind: str, operation: str = "CreateChannel", **more: Any) -> dict[str, Any]:
    reply = stage.manage("POST", "/faults", {"kind": kind, "operation": operation, **more})
    assert reply.status == 201, reply
    planned: dict[str, Any] = reply.json()
    return planned


def channels(client: Any) -> int:
    return len(client.list_channels(maxResults=100)["channels"])


@pytest.mark.parametrize(
    ("kind", "exception", "status"),
    [("throttle", "ThrottlingException", 429), ("error", "InternalServerException", 500)],
)
def test_a_refusal_on_request_has_no_effect(stage: Staged, client: Any, kind: str, exception: str, status: int) -> None:
    before = channels(client)
    plan(stage, kind, count=1)
    with pytest.raises(getattr(client.exceptions, exception)) as refused:
        client.create_channel()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert channels(client) == before
    client.create_channel()
    assert channels(client) == before + 1


@pytest.mark.parametrize(("kind", "made"), [("drop-before", 0), ("drop-after", 1)])
def test_a_dropped_call_is_a_closed_connection(stage: Staged, client: Any, kind: str, made: int) -> None:
    before = channels(client)
    plan(stage, kind, count=1)
    with pytest.raises(ConnectionClosedError):
        client.create_channel()
    assert channels(client) == before + made


@pytest.mark.parametrize(("kind", "made"), [("drop-before", 1), ("drop-after", 2), ("error", 1), ("throttle", 1)])
def test_boto3s_own_retry_gets_through(stage: Staged, client: Any, kind: str, made: int) -> None:
    """What took effect before its answer was lost happens twice: why the service's own steps must be idempotent."""
    before = channels(client)
    plan(stage, kind, count=1)
    patient = stage.client(attempts=3)
    patient.create_channel()
    patient.close()
    assert channels(client) == before + made


def test_a_delayed_answer_comes_late_and_its_effect_does_not(stage: Staged, client: Any) -> None:
    before = channels(client)
    plan(stage, "delay", delaySeconds=0.6, count=2)
    started_at = time.monotonic()
    client.create_channel()
    assert time.monotonic() - started_at >= 0.6
    hasty = stage.client(read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        hasty.create_channel()
    hasty.close()
    assert channels(client) == before + 2


def test_entries_of_a_batch_go_wrong_by_themselves(stage: Staged, client: Any) -> None:
    channel = client.create_channel()["channel"]["arn"]
    plan(stage, "entry-error", "BatchStartViewerSessionRevocation", count=2)
    told = [{"channelArn": channel, "viewerId": f"v{n}"} for n in range(3)]
    errors = client.batch_start_viewer_session_revocation(viewerSessions=told)["errors"]
    assert [(error["viewerId"], error["code"]) for error in errors] == [
        ("v0", "InternalServerException"),
        ("v1", "InternalServerException"),
    ]
    client.start_viewer_session_revocation(channelArn=channel, viewerId="v0")
    assert "errors" not in client.batch_start_viewer_session_revocation(viewerSessions=told)


def test_a_rate_strikes_now_and_then_and_the_same_each_time(stage: Staged, client: Any) -> None:
    def story() -> list[bool]:
        plan(stage, "throttle", "*", rate=0.5, seed=11)
        struck = []
        for _ in range(30):
            try:
                client.list_channels()
                struck.append(False)
            except client.exceptions.ThrottlingException:
                struck.append(True)
        stage.manage("DELETE", "/faults")
        return struck

    first = story()
    assert set(first) == {True, False}
    assert story() == first


def test_what_is_planned_is_shown_until_it_is_cleared(stage: Staged, client: Any) -> None:
    planned = plan(stage, "delay", "GetChannel", delaySeconds=2, rate=0.25, count=4, seed=9)
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
    assert stage.manage("GET", "/faults").json() == {"faults": [planned]}
    stage.manage("DELETE", "/faults")
    assert stage.manage("GET", "/faults").json() == {"faults": []}


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
def test_a_bad_plan_is_refused_by_field(stage: Staged, body: dict[str, Any], fields: set[str]) -> None:
    reply = stage.manage("POST", "/faults", body)
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert {error["field"] for error in reply.json()["errors"]} == fields
    assert stage.manage("GET", "/faults").json() == {"faults": []}
