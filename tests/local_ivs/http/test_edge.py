"""The edge over HTTP: tokens made with PyJWT play channels created with boto3."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import jwt
import pytest

from tests.local_ivs.environment import HERE, pem, private_key
from tests.local_ivs.hls import read_media_playlist, read_multivariant_playlist
from tests.local_ivs.http.conftest import SharedServer
from tests.local_ivs.http.signed_requests import Reply, send
from tests.support.servers import serving
from tokensvc.aws.arn import parse_arn
from tokensvc.clock import SystemClock
from tokensvc.errors import StoreUnavailable
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.storage import SqliteResourceStore

pytestmark = pytest.mark.slow


class PrivateChannel(NamedTuple):
    """A private channel, and tokens for it."""

    arn: str
    playback_url: str

    def token(self, **claims: Any) -> str:
        payload = {"aws:channel-arn": self.arn, "exp": int(time.time()) + 7200, **claims}
        return jwt.encode(payload, private_key(7), algorithm="ES384")

    def get_playlist(self, query: str, method: str = "GET", **headers: str) -> Reply:
        return send(method, f"{self.playback_url}{query}", headers=headers, sign=False)


@pytest.fixture
def private_channel(client: Any, shared_server: SharedServer, empty_account: None) -> PrivateChannel:
    client.import_playback_key_pair(publicKeyMaterial=pem(7))
    channel = client.create_channel(authorized=True)["channel"]
    shared_server.components.streams.start(channel["arn"])
    return PrivateChannel(channel["arn"], channel["playbackUrl"])


def test_a_token_is_accepted_until_its_key_is_deleted(private_channel: PrivateChannel, client: Any) -> None:
    reply = private_channel.get_playlist(f"?token={private_channel.token()}")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/vnd.apple.mpegurl"
    host = private_channel.playback_url.partition("/api/")[0]
    assert f"\n{host}/v1/playlist/".encode() in reply.body

    (pair,) = client.list_playback_key_pairs()["keyPairs"]
    client.delete_playback_key_pair(arn=pair["arn"])
    assert private_channel.get_playlist(f"?token={private_channel.token()}").status == 403


def test_a_missing_token_gets_the_403_of_ivs(private_channel: PrivateChannel) -> None:
    reply = private_channel.get_playlist("?player_version=1.13.0&allow_audio_only=true")
    assert reply.status == 403
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["access-control-allow-origin"] == "*"
    path = urlsplit(private_channel.playback_url).path
    assert reply.body.decode() == (
        f'[{{"url":"{path}?player_version=1.13.0\\u0026allow_audio_only=true",'
        '"error":"token contains an invalid number of segments",'
        '"error_code":"invalid_playback_auth_token","type":"error"}]'
    )


def test_a_head_is_a_get_without_body(private_channel: PrivateChannel) -> None:
    token = private_channel.token()
    head, get = (private_channel.get_playlist(f"?token={token}", method) for method in ("HEAD", "GET"))
    assert head.status == get.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == get.headers["content-length"]


def test_strict_enforcement_checks_the_origin_header(private_channel: PrivateChannel) -> None:
    token = private_channel.token(
        **{"aws:access-control-allow-origin": "https://a.com", "aws:strict-origin-enforcement": True}
    )
    assert private_channel.get_playlist(f"?token={token}").status == 403
    assert private_channel.get_playlist(f"?token={token}", Origin="https://b.com").status == 403
    allowed = private_channel.get_playlist(f"?token={token}", Origin="https://a.com")
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://a.com"


def test_two_origin_headers_are_not_an_allowed_origin(private_channel: PrivateChannel) -> None:
    """RFC 9110, 5.3: repeated fields mean the same as one field with a list, and a list is not an origin."""
    token = private_channel.token(
        **{"aws:access-control-allow-origin": "https://a.com", "aws:strict-origin-enforcement": True}
    )
    parts = urlsplit(private_channel.playback_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.putrequest("GET", f"{parts.path}?token={token}")
    connection.putheader("Origin", "https://a.com")
    connection.putheader("Origin", "https://evil.com")
    connection.endheaders()
    assert connection.getresponse().status == 403
    connection.close()


def test_preflights_are_answered(private_channel: PrivateChannel) -> None:
    reply = private_channel.get_playlist("", "OPTIONS", Origin="https://a.com")
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "GET" in reply.headers["access-control-allow-methods"]


def test_other_methods_and_paths_are_rejected(private_channel: PrivateChannel, shared_server: SharedServer) -> None:
    assert private_channel.get_playlist("", "POST").status == 405
    for path in (
        *("/api/video/v1/", "/api/video/v1/us-west-2.1.channel.x.m3u8", "/api/video/v1/x.m3u8"),
        *("/v1/playlist/abc.720p30.m3u8", "/v1/segment/abc.ts", f"/v1/segment/{'A' * 32}.480p30.m3u8"),
    ):
        reply = send("GET", shared_server.base_url + path, sign=False)
        assert reply.status == 404
        assert json.loads(reply.body)[0]["error"] == "not a playback URL"


@pytest.mark.parametrize("path", ["/v1/playlist/abc.720p30.m3u8", "/v1/segment/abc.ts", "/api/video/v1/x.m3u8"])
def test_players_in_browsers_can_read_every_response(
    private_channel: PrivateChannel, client: Any, shared_server: SharedServer, path: str
) -> None:
    """Without Access-Control-Allow-Origin a browser hides the status, and the IVS player reports a network error."""
    origin = {"Origin": "https://app.example"}
    offline = client.create_channel(authorized=False)["channel"]["playbackUrl"]
    replies = [
        (403, private_channel.get_playlist("", **origin)),
        (404, send("GET", offline, headers=origin, sign=False)),
        (405, private_channel.get_playlist("", "POST", **origin)),
        *((404, send(method, shared_server.base_url + path, headers=origin, sign=False)) for method in ("GET", "HEAD")),
    ]
    for status, reply in replies:
        assert (reply.status, reply.headers.get("access-control-allow-origin")) == (status, "*")
    preflight = send("OPTIONS", shared_server.base_url + path, headers=origin, sign=False)
    assert (preflight.status, preflight.headers.get("access-control-allow-origin")) == (204, "*")


@pytest.mark.parametrize(("failure", "status"), [(StoreUnavailable("away"), 503), (RuntimeError("a bug"), 500)])
def test_players_in_browsers_can_read_internal_failures(failure: Exception, status: int) -> None:
    class FailingStore(SqliteResourceStore):
        def begin(self, *, write: bool) -> NoReturn:
            raise failure

    store = FailingStore(":memory:")
    edge = build(store, LocalIvsSettings(), AdvanceableClock(SystemClock())).edge
    with serving(edge) as url:
        for path in ("/api/video/v1/us-west-2.000000000000.channel.a.m3u8", f"/v1/playlist/{'A' * 32}.480p30.m3u8"):
            reply = send("GET", url + path, sign=False)
            assert (reply.status, reply.headers.get("access-control-allow-origin")) == (status, "*")
    store.close()


def test_a_session_plays_without_a_token(private_channel: PrivateChannel) -> None:
    started = private_channel.get_playlist(f"?token={private_channel.token()}")
    (variant,) = read_multivariant_playlist(started.body).playlists
    reply = send("GET", variant.uri, sign=False)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/vnd.apple.mpegurl")
    segments = read_media_playlist(reply.body).segments
    assert len(segments) == 6
    for segment in segments:
        assert segment.uri.startswith(private_channel.playback_url.partition("/api/")[0])
        loaded = send("GET", segment.uri, sign=False)
        assert (loaded.status, loaded.headers["content-type"]) == (200, "video/mp2t")
        assert loaded.body[::188] == b"G" * (len(loaded.body) // 188)
        head = send("HEAD", segment.uri, sign=False)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == loaded.headers["content-length"]
    assert send("POST", variant.uri, sign=False).status == 405
    preflight = send("OPTIONS", variant.uri, headers={"Origin": "https://a.com"}, sign=False)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, "*")


def test_variant_playlists_begin_with_the_public_url(resources: SqliteResourceStore) -> None:
    """Behind a proxy the Host header is not what players use."""
    components = build(resources, LocalIvsSettings(public_url="https://ivs.example/"), AdvanceableClock(SystemClock()))
    channel = components.ivs.call(HERE, "CreateChannel", {"authorized": False}, "")["channel"]["arn"]
    components.streams.start(channel)
    with serving(components.site) as url:
        started = send("GET", url + parse_arn(channel).playback_path, sign=False)
        (variant,) = read_multivariant_playlist(started.body).playlists
        assert variant.uri.startswith("https://ivs.example/v1/playlist/")
        reply = send("GET", url + urlsplit(variant.uri).path, sign=False)
    uris = [segment.uri for segment in read_media_playlist(reply.body).segments]
    assert all(uri.startswith("https://ivs.example/v1/segment/") for uri in uris)


def test_tokens_expire_by_the_local_clock(private_channel: PrivateChannel, shared_server: SharedServer) -> None:
    token = private_channel.token(exp=int(shared_server.components.clock.now()) + 60)
    assert private_channel.get_playlist(f"?token={token}").status == 200
    shared_server.components.clock.advance(61)
    reply = private_channel.get_playlist(f"?token={token}")
    assert reply.json()[0]["error"] == "token is expired"


def test_malformed_bytes_in_a_query_are_rejected(private_channel: PrivateChannel) -> None:
    parts = urlsplit(private_channel.playback_url)
    for query in (b"token=\xff\xfe", b"%", b"token=%00.%ff.x", b"&" * 50):
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        connection.putrequest("GET", parts.path)
        connection._buffer[0] = b"GET " + parts.path.encode() + b"?" + query + b" HTTP/1.1"  # type: ignore[attr-defined]  # http.client has no other way to send them
        connection.endheaders()
        assert connection.getresponse().status in (400, 403)
        connection.close()
