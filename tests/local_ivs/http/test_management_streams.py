"""The management listener's routes for streams: what they refuse, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_ivs.environment import everything
from tests.local_ivs.http.own_servers import Staged, staged
from tests.support.case_ids import stable_repr

MISSING = "arn:aws:ivs:us-west-2:000000000000:channel/nothingThere"
TRACKS: dict[str, list[Any]] = {"videoConfigurations": [], "audioConfigurations": []}


@pytest.fixture(scope="module")
def stage() -> Iterator[Staged]:
    with staged() as opened:
        yield opened


@pytest.fixture(scope="module")
def channel(stage: Staged) -> str:
    client = stage.client()
    arn = str(client.create_channel()["channel"]["arn"])
    client.close()
    return arn


@pytest.mark.parametrize(
    ("path", "more", "fields"),
    [
        ("start", {"channelArn": None}, {"channelArn"}),
        ("start", {"channelArn": "x"}, {"channelArn"}),
        ("start", {"channelArn": MISSING.replace("channel", "stream-key")}, {"channelArn"}),
        ("start", {"ingestConfigurations": 5}, {"ingestConfigurations"}),
        (
            "start",
            {"ingestConfigurations": {}},
            {"ingestConfigurations.videoConfigurations", "ingestConfigurations.audioConfigurations"},
        ),
        (
            "ingest",
            {"ingestConfigurations": {**TRACKS, "videoConfigurations": [{"videoHeight": "tall"}]}},
            {"ingestConfigurations.videoConfigurations.1.member.videoHeight"},
        ),
        ("ingest", {}, {"ingestConfigurations"}),
        ("stop", {"when": "now"}, {"when"}),
        ("health", {}, {"health"}),
        ("health", {"health": "FINE"}, {"health"}),
        ("viewers", {"count": -1}, {"count"}),
        ("viewers", {"count": 1.5}, {"count"}),
        ("viewers", {"count": True}, {"count"}),
    ],
    ids=stable_repr,
)
def test_bad_input_is_refused_by_field_and_changes_nothing(
    stage: Staged, channel: str, path: str, more: dict[str, Any], fields: set[str]
) -> None:
    before = everything(stage.resources)
    reply = stage.manage("POST", f"/streams/{path}", {"channelArn": channel, **more})
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert {error["field"] for error in reply.json()["errors"]} == fields
    assert everything(stage.resources) == before


def test_what_ivs_would_refuse_keeps_its_code(stage: Staged, channel: str) -> None:
    def refused(path: str, arn: str, **more: Any) -> tuple[int, str]:
        reply = stage.manage("POST", f"/streams/{path}", {"channelArn": arn, **more})
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status
        return reply.status, reply.json()["code"]

    for path, more in (
        *(("stop", {}), ("health", {"health": "HEALTHY"}), ("viewers", {"count": 1})),
        ("ingest", {"ingestConfigurations": TRACKS}),
    ):
        assert refused(path, channel, **more) == (404, "ChannelNotBroadcasting")
        assert refused(path, MISSING, **more) == (404, "ResourceNotFoundException")
    assert refused("start", MISSING) == (404, "ResourceNotFoundException")
    stage.start_stream(channel)
    assert refused("start", channel) == (409, "ConflictException")
    assert stage.manage("POST", "/streams/stop", {"channelArn": channel}).status == 204


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/streams/start", 405), ("POST", "/events", 405), ("PUT", "/faults", 405)),
        *(("GET", "/nothing", 404), ("POST", "/streams", 404)),
    ],
)
def test_other_routes_and_methods_are_problems_too(stage: Staged, method: str, path: str, status: int) -> None:
    reply = stage.manage(method, path, {})
    assert (reply.status, reply.json()["status"]) == (status, status)
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", ["x", [], 5])
def test_what_is_no_object_is_unreadable(stage: Staged, body: Any) -> None:
    for path in ("/streams/start", "/faults", "/clock"):
        assert stage.manage("POST", path, body).status == 400
