"""Streams over HTTP: started at the management listener, read and stopped with an unmodified boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.local_ivs.environment import pem, private_key
from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server
from tests.local_ivs.http.signed_requests import send

MISSING = "arn:aws:ivs:us-west-2:000000000000:channel/nothingThere"
MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/show"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalIvsServer]:
    with local_ivs_server() as running_server:
        yield running_server


@pytest.fixture(scope="module")
def client(server: LocalIvsServer) -> Iterator[Any]:
    created = server.client()
    yield created
    created.close()


@pytest.fixture
def channel(client: Any) -> str:
    return str(client.create_channel(name="show")["channel"]["arn"])


@pytest.mark.slow
def test_a_stream_from_start_to_end(server: LocalIvsServer, client: Any, channel: str) -> None:
    stream_id = server.start_stream(channel)
    stream = client.get_stream(channelArn=channel)["stream"]
    assert (stream["streamId"], stream["state"], stream["health"]) == (stream_id, "LIVE", "HEALTHY")
    assert abs((datetime.now(UTC) - stream["startTime"]).total_seconds()) < 60
    for path, body in (
        ("health", {"health": "STARVING"}),
        ("viewers", {"count": 12}),
        ("ingest", {"ingestConfigurations": {"videoConfigurations": [{"codec": "x"}], "audioConfigurations": []}}),
    ):
        assert server.manage("POST", f"/streams/{path}", {"channelArn": channel, **body}).status == 204
    starving = client.list_streams(filterBy={"health": "STARVING"})["streams"]
    assert [(s["channelArn"], s["viewerCount"]) for s in starving] == [(channel, 12)]
    put = client.put_metadata(channelArn=channel, metadata='{"my": "metadata"}')
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.stop_stream(channelArn=channel)["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(client.exceptions.ChannelNotBroadcasting) as raised:
        client.get_stream(channelArn=channel)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    session = client.get_stream_session(channelArn=channel, streamId=stream_id)["streamSession"]
    assert session["endTime"] >= session["startTime"]
    assert session["ingestConfiguration"]["video"] == {"codec": "x"}
    assert [event["name"] for event in session["truncatedEvents"]] == [
        *("Session Ended", "Stream End", "Starvation Start", "Stream Start", "Session Created")
    ]
    (listed,) = client.list_stream_sessions(channelArn=channel)["streamSessions"]
    assert listed == {name: session.get(name, False) for name in listed}
    assert server.manage("POST", "/streams/stop", {"channelArn": channel}).status == 404


def test_ad_breaks_are_inserted_into_live_streams(server: LocalIvsServer, client: Any) -> None:
    configurations = [{"playbackConfigurationArn": MEDIATAILOR}]
    created = client.create_ad_configuration(mediaTailorPlaybackConfigurations=configurations)["adConfiguration"]
    channel = client.create_channel(adConfigurationArn=created["arn"])["channel"]["arn"]
    with pytest.raises(client.exceptions.ChannelNotBroadcasting):
        client.insert_ad_break(channelArn=channel, durationSeconds=30)
    server.start_stream(channel)
    at = datetime(2100, 1, 1, tzinfo=UTC)
    inserted = client.insert_ad_break(channelArn=channel, durationSeconds=30, targetStartAt=at)
    assert inserted["targetStartAt"] == at
    with pytest.raises(client.exceptions.ConflictException):
        client.insert_ad_break(channelArn=channel, durationSeconds=30, targetStartAt=at)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.insert_ad_break(channelArn=MISSING, durationSeconds=30)


ERROR_CASES: dict[str, tuple[str, Callable[[Any, str], object]]] = {
    "get, offline": ("ChannelNotBroadcasting", lambda c, arn: c.get_stream(channelArn=arn)),
    "stop, offline": ("ChannelNotBroadcasting", lambda c, arn: c.stop_stream(channelArn=arn)),
    "metadata, offline": ("ChannelNotBroadcasting", lambda c, arn: c.put_metadata(channelArn=arn, metadata="x")),
    "no session": ("ResourceNotFoundException", lambda c, arn: c.get_stream_session(channelArn=arn)),
    "get, nowhere": ("ResourceNotFoundException", lambda c, _: c.get_stream(channelArn=MISSING)),
    "stop, nowhere": ("ResourceNotFoundException", lambda c, _: c.stop_stream(channelArn=MISSING)),
    "metadata, nowhere": ("ResourceNotFoundException", lambda c, _: c.put_metadata(channelArn=MISSING, metadata="x")),
    "sessions, nowhere": ("ResourceNotFoundException", lambda c, _: c.list_stream_sessions(channelArn=MISSING)),
    "no arn": ("ValidationException", lambda c, _: c.get_stream(channelArn="x")),
    "stop, no arn": ("ValidationException", lambda c, _: c.stop_stream(channelArn="x")),
    "long metadata": ("ValidationException", lambda c, arn: c.put_metadata(channelArn=arn, metadata="x" * 1025)),
    "health": ("ValidationException", lambda c, _: c.list_streams(filterBy={"health": "FINE"})),
    "stream id": ("ValidationException", lambda c, arn: c.get_stream_session(channelArn=arn, streamId="x" * 26)),
    "page": ("ValidationException", lambda c, arn: c.list_stream_sessions(channelArn=arn, maxResults=101)),
    "duration": ("ValidationException", lambda c, arn: c.insert_ad_break(channelArn=arn, durationSeconds=301)),
}


@pytest.mark.parametrize("case", ERROR_CASES)
def test_errors_are_typed_exceptions_of_boto3(client: Any, channel: str, case: str) -> None:
    code, attempt = ERROR_CASES[case]
    with pytest.raises(getattr(client.exceptions, code)) as raised:
        attempt(client, channel)
    assert raised.value.response["Error"]["Message"]


def test_boto3s_paginator_lists_the_live_streams(server: LocalIvsServer, client: Any) -> None:
    arns = [client.create_channel()["channel"]["arn"] for _ in range(5)]
    for arn in arns:
        server.start_stream(arn)
    found = [
        s["channelArn"]
        for s in client.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2}).search("streams")
    ]
    assert [arn for arn in found if arn in arns] == arns


@pytest.mark.slow
def test_the_edge_serves_only_live_channels(server: LocalIvsServer, client: Any) -> None:
    client.import_playback_key_pair(publicKeyMaterial=pem(3))
    channel = client.create_channel(authorized=True)["channel"]
    payload = {"aws:channel-arn": channel["arn"], "exp": int(server.components.clock.now()) + 300}
    url = f"{channel['playbackUrl']}?token={jwt.encode(payload, private_key(3), algorithm='ES384')}"
    assert send("GET", url, sign=False).status == 404
    assert send("GET", channel["playbackUrl"], sign=False).status == 403
    server.start_stream(channel["arn"])
    assert send("GET", url, sign=False).status == 200
    assert client.get_stream(channelArn=channel["arn"])["stream"]["viewerCount"] == 1
    client.stop_stream(channelArn=channel["arn"])
    assert send("GET", url, sign=False).status == 404


@pytest.mark.slow
def test_streams_sessions_and_events_survive_a_restart(tmp_path: Path) -> None:
    database = str(tmp_path / "ivs.db")

    def read_state(server: LocalIvsServer, channel: str) -> list[Any]:
        client = server.client()
        seen = [client.get_stream(channelArn=channel)["stream"]]
        seen.append(client.get_stream_session(channelArn=channel)["streamSession"])
        seen.append(client.list_stream_sessions(channelArn=channel)["streamSessions"])
        client.close()
        for resource in seen[:2]:
            (resource if "playbackUrl" in resource else resource["channel"]).pop("playbackUrl")
        return [*seen, server.manage("GET", "/events?after=0").json()]

    with local_ivs_server(database) as server:
        client = server.client()
        channel = client.create_channel(name="show")["channel"]["arn"]
        for _ in range(2):
            server.start_stream(channel)
            client.stop_stream(channelArn=channel)
        server.start_stream(channel)
        server.manage("POST", "/streams/viewers", {"channelArn": channel, "count": 3})
        client.close()
        before = read_state(server, channel)
    with local_ivs_server(database) as server:
        assert read_state(server, channel) == before
        assert len(before[2]) == 3
        assert before[0]["viewerCount"] == 3


@pytest.mark.slow
def test_concurrent_starts_stops_and_metadata_are_consistent(server: LocalIvsServer, client: Any) -> None:
    channels = [client.create_channel()["channel"]["arn"] for _ in range(2)]
    expected = {"", "ChannelNotBroadcasting", "ConflictException"}

    def attempt(number: int) -> str:
        channel = channels[number % 2]
        if number % 3 == 0:
            return str(server.manage("POST", "/streams/start", {"channelArn": channel}).json().get("code", ""))
        try:
            if number % 3 == 1:
                client.stop_stream(channelArn=channel)
            else:
                client.put_metadata(channelArn=channel, metadata="x")
        except client.exceptions.ClientError as raised:
            return str(raised.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(attempt, range(300)))
    assert set(outcomes) == expected
    started = [o for n, o in enumerate(outcomes) if n % 3 == 0].count("")
    stopped = [o for n, o in enumerate(outcomes) if n % 3 == 1].count("")
    sessions = [s for arn in channels for s in client.list_stream_sessions(channelArn=arn)["streamSessions"]]
    assert len(sessions) == started
    assert sum("endTime" in session for session in sessions) == stopped
