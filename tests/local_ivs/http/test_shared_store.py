"""Several processes on one database are one edge: a session that one starts, another continues or ends.

Each server here has its own connections and its own memory, as a process has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jwt
import m3u8
import pytest

from tests.local_ivs.environment import pem, private_key
from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server
from tests.local_ivs.http.signed_requests import Reply, send

pytestmark = pytest.mark.slow

UUID = "123e4567-e89b-42d3-a456-426614174000"


class Pair(NamedTuple):
    """Two servers on one database, with a private channel that is live."""

    one: LocalIvsServer
    two: LocalIvsServer
    client: Any
    """Of the first server."""
    channel: str

    def start(self, server: LocalIvsServer, **claims: object) -> Reply:
        """Start playback at a server."""
        payload = {"aws:channel-arn": self.channel, "exp": int(time.time()) + 300, **claims}
        token = jwt.encode(payload, private_key(7), algorithm="ES384")
        path = urlsplit(self.client.get_channel(arn=self.channel)["channel"]["playbackUrl"]).path
        return send("GET", f"{server.url}{path}?token={token}", sign=False)

    def statuses(self, path: str) -> list[int]:
        """The statuses of both servers for a path."""
        return [send("GET", server.url + path, sign=False).status for server in (self.one, self.two)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    database = str(tmp_path / "ivs.sqlite3")
    with local_ivs_server(database) as one, local_ivs_server(database) as two:
        client = one.client()
        client.import_playback_key_pair(publicKeyMaterial=pem(7))
        channel = client.create_channel(authorized=True)["channel"]["arn"]
        one.start_stream(channel)
        yield Pair(one, two, client, channel)
        client.close()


def variant_path(reply: Reply) -> str:
    (variant,) = m3u8.loads(reply.body.decode()).playlists
    return urlsplit(str(variant.uri)).path


def test_a_session_plays_at_both_and_is_one_view(pair: Pair) -> None:
    path = variant_path(pair.start(pair.one))
    assert pair.statuses(path) == [200, 200]
    playlist = m3u8.loads(send("GET", pair.two.url + path, sign=False).body.decode())
    assert pair.statuses(urlsplit(playlist.segments[0].uri).path) == [200, 200]
    for server in (pair.one, pair.two):
        client = server.client()
        assert client.get_stream(channelArn=pair.channel)["stream"]["viewerCount"] == 1
        client.close()
        assert len(server.manage("GET", "/sessions").json()["sessions"]) == 1


def test_a_revocation_at_one_cuts_off_the_sessions_of_the_other(pair: Pair) -> None:
    path = variant_path(pair.start(pair.two, **{"aws:viewer-id": "ada"}))
    assert pair.statuses(path) == [200, 200]
    pair.client.start_viewer_session_revocation(channelArn=pair.channel, viewerId="ada")
    assert pair.statuses(path) == [403, 403]


def test_a_session_that_one_ends_has_ended_at_the_other(pair: Pair) -> None:
    path = variant_path(pair.start(pair.two))
    session_id = path.rsplit("/", 1)[1].split(".")[0]
    assert pair.one.manage("DELETE", f"/sessions/{session_id}").status == 204
    assert pair.statuses(path) == [403, 403]


def test_a_stream_that_ends_at_one_ends_the_sessions_of_the_other(pair: Pair) -> None:
    path = variant_path(pair.start(pair.two))
    pair.client.stop_stream(channelArn=pair.channel)
    assert pair.statuses(path) == [404, 404]


def test_a_single_use_is_spent_at_both(pair: Pair) -> None:
    claims = {"aws:single-use-uuid": UUID}
    assert pair.start(pair.one, **claims).status == 200
    assert pair.start(pair.two, **claims).status == 403


def test_metadata_that_is_put_at_one_is_in_the_segments_of_the_other(pair: Pair) -> None:
    path = variant_path(pair.start(pair.two)).replace("/playlist/", "/segment/").removesuffix("m3u8")
    pair.client.put_metadata(channelArn=pair.channel, metadata="a cue for all")
    for server in (pair.one, pair.two):
        server.components.clock.advance(2)
    number = int(pair.two.components.clock.now() // 2)
    bodies = [send("GET", f"{pair.two.url}{path}{number - back}.ts", sign=False).body for back in range(1, 6)]
    assert sum(b"a cue for all" in body for body in bodies) == 1
