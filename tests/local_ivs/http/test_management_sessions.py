"""The management listener lists the sessions of players, and ends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import m3u8
import pytest

from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server
from tests.local_ivs.http.signed_requests import send
from tests.support.case_ids import stable_repr

pytestmark = pytest.mark.slow

MISSING = "arn:aws:ivs:us-west-2:000000000000:channel/nothingThere"


class LiveChannel(NamedTuple):
    """A public channel that is live."""

    arn: str
    playback_url: str

    def start(self) -> str:
        """Start playback and return the URL of the variant playlist."""
        reply = send("GET", self.playback_url, sign=False)
        (variant,) = m3u8.loads(reply.body.decode()).playlists
        return str(variant.uri)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalIvsServer]:
    with local_ivs_server() as running_server:
        yield running_server


@pytest.fixture
def channel(server: LocalIvsServer) -> LiveChannel:
    client = server.client()
    created = client.create_channel(authorized=False)["channel"]
    client.close()
    assert server.manage("POST", "/streams/start", {"channelArn": created["arn"]}).status == 201
    return LiveChannel(created["arn"], created["playbackUrl"])


def sessions(server: LocalIvsServer, query: str) -> list[dict[str, Any]]:
    reply = server.manage("GET", f"/sessions?{query}")
    assert reply.status == 200
    found: list[dict[str, Any]] = reply.json()["sessions"]
    return found


def test_sessions_are_listed_newest_first(server: LocalIvsServer, channel: LiveChannel) -> None:
    urls = [channel.start() for _ in range(3)]
    found = sessions(server, f"channelArn={channel.arn}")
    ids = [session["sessionId"] for session in found]
    assert [url.rsplit("/", 1)[1].split(".")[0] for url in reversed(urls)] == ids
    assert {session["channelArn"] for session in found} == {channel.arn}
    assert (found[0]["viewerId"], found[0]["viewerSessionVersion"], found[0]["mediaId"]) == (None, None, "ready-made")
    assert found[0]["startedAt"] == found[0]["lastSeenAt"]
    assert [session["sessionId"] for session in sessions(server, "maxResults=2")] == ids[:2]
    assert sessions(server, f"channelArn={MISSING}") == []


def test_all_sessions_can_be_listed_in_pages(server: LocalIvsServer, channel: LiveChannel) -> None:
    for _ in range(5):
        channel.start()
    everything = sessions(server, f"channelArn={channel.arn}")
    pages, token = [], ""
    while token is not None:
        reply = server.manage("GET", f"/sessions?channelArn={channel.arn}&maxResults=2&nextToken={token}").json()
        pages.append(reply["sessions"])
        token = reply["nextToken"]
        channel.start()  # a newer one shifts nothing
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [session for page in pages for session in page] == everything


def test_an_ended_session_is_refused_and_no_longer_listed(server: LocalIvsServer, channel: LiveChannel) -> None:
    ended, other = channel.start(), channel.start()
    session_id = ended.rsplit("/", 1)[1].split(".")[0]
    assert server.manage("DELETE", f"/sessions/{session_id}").status == 204
    assert [send("GET", url, sign=False).status for url in (ended, other)] == [403, 200]
    assert session_id not in str(sessions(server, f"channelArn={channel.arn}"))
    again = server.manage("DELETE", f"/sessions/{session_id}")
    assert (again.status, again.json()["code"]) == (404, "ResourceNotFoundException")
    assert session_id not in again.body.decode()


def test_sessions_end_with_their_stream(server: LocalIvsServer, channel: LiveChannel) -> None:
    url = channel.start()
    assert server.manage("POST", "/streams/stop", {"channelArn": channel.arn}).status == 204
    assert send("GET", url, sign=False).status == 404
    assert sessions(server, f"channelArn={channel.arn}") == []
    assert channel.arn not in str(sessions(server, "maxResults=1000"))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("maxResults=0", "maxResults"),
        ("maxResults=1001", "maxResults"),
        ("maxResults=many", "maxResults"),
        ("channelArn=x", "channelArn"),
        ("channelArn=arn:aws:ivs:us-west-2:000000000000:stream-key/x", "channelArn"),
        ("viewer=x", "viewer"),
        ("nextToken=x", "nextToken"),
        ("nextToken=c2Vzc2lvbnM6MS54", "nextToken"),
    ],
    ids=stable_repr,
)
def test_invalid_queries_are_rejected_by_field(server: LocalIvsServer, query: str, field: str) -> None:
    reply = server.manage("GET", f"/sessions?{query}")
    assert (reply.status, [error["field"] for error in reply.json()["errors"]]) == (422, [field])
