"""The management listener's routes for streams: which requests they reject, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_ivs.environment import all_stored
from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server
from tests.support.case_ids import stable_repr

MISSING = "arn:aws:ivs:us-west-2:000000000000:channel/nothingThere"
TRACKS: dict[str, list[Any]] = {"videoConfigurations": [], "audioConfigurations": []}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalIvsServer]:
    with local_ivs_server() as running_server:
        yield running_server


@pytest.fixture(scope="module")
def channel(server: LocalIvsServer) -> str:
    client = server.client()
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
def test_invalid_input_is_rejected_by_field_and_changes_nothing(
    server: LocalIvsServer, channel: str, path: str, more: dict[str, Any], fields: set[str]
) -> None:
    before = all_stored(server.resources)
    reply = server.manage("POST", f"/streams/{path}", {"channelArn": channel, **more})
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert {error["field"] for error in reply.json()["errors"]} == fields
    assert all_stored(server.resources) == before


def test_errors_of_ivs_keep_their_codes(server: LocalIvsServer, channel: str) -> None:
    def error_of(path: str, arn: str, **more: Any) -> tuple[int, str]:
        reply = server.manage("POST", f"/streams/{path}", {"channelArn": arn, **more})
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status
        return reply.status, reply.json()["code"]

    for path, more in (
        *(("stop", {}), ("health", {"health": "HEALTHY"}), ("viewers", {"count": 1})),
        ("ingest", {"ingestConfigurations": TRACKS}),
    ):
        assert error_of(path, channel, **more) == (404, "ChannelNotBroadcasting")
        assert error_of(path, MISSING, **more) == (404, "ResourceNotFoundException")
    assert error_of("start", MISSING) == (404, "ResourceNotFoundException")
    server.start_stream(channel)
    assert error_of("start", channel) == (409, "ConflictException")
    assert server.manage("POST", "/streams/stop", {"channelArn": channel}).status == 204


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/streams/start", 405), ("POST", "/events", 405), ("PUT", "/faults", 405)),
        *(("GET", "/nothing", 404), ("POST", "/streams", 404)),
    ],
)
def test_unknown_routes_and_methods_are_problem_details(
    server: LocalIvsServer, method: str, path: str, status: int
) -> None:
    reply = server.manage(method, path, {})
    assert (reply.status, reply.json()["status"]) == (status, status)
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/streams/start", "POST"),
        ("POST", "/events", "GET, HEAD"),
        ("PUT", "/faults", "DELETE, GET, HEAD, POST"),
        ("PATCH", "/sessions/abc", "DELETE"),
    ],
)
def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(
    server: LocalIvsServer, method: str, path: str, allowed: str
) -> None:
    """RFC 9110, section 15.5.6."""
    reply = server.manage(method, path, {})
    assert (reply.status, reply.headers.get("allow")) == (405, allowed)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["x", [], 5])
def test_a_body_that_is_not_an_object_is_malformed(server: LocalIvsServer, body: Any) -> None:
    for path in ("/streams/start", "/faults", "/clock"):
        assert server.manage("POST", path, body).status == 400
