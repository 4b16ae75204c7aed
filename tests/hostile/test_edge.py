"""A thousand hostile requests to the playback edge: each is a client error, and none gets another session's media.

Some of them are sent to a local IVS's server too, as bytes.

Invariants
- The requests are the same in each run: a seed chooses them.
- Each is derived from a valid one, and differs from it. The attacker has a session and tokens of its own channel, and
  knows the other viewer's URLs but for one character.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import random
from collections.abc import Callable, Iterator
from hashlib import sha384
from typing import Any, NamedTuple

import pytest

from tests.hostile.wire import Address, Connection, exchange
from tests.local_ivs.environment import HERE, START, FrozenClock, pem, private_key, start_stream
from tests.local_ivs.ladder import Ladder, label_of
from tests.support.asgi_client import AsgiResponse
from tests.support.tokens import encode_token
from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.media.loop import MediaLoop
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.testing.server_thread import serving

REQUESTS = 1000
REQUESTS_ON_SOCKETS = 110
ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
STREAM_SECONDS = 60
SYNC_BYTE = b"\x47"
"""Every segment begins with it (ISO/IEC 13818-1)."""
Headers = list[tuple[bytes, bytes]]


class Hostile(NamedTuple):
    """A request as it arrives; `path` and `query` are not decoded."""

    path: bytes
    query: bytes = b""
    headers: Headers = []  # noqa: RUF012 - never changed
    method: str = "GET"

    def encode(self) -> bytes:
        """The request on a connection of its own, exactly as the attacker has it; a `Host` is added if it has none."""
        target = self.path + (b"?" + self.query if self.query else b"")
        headers = list(self.headers)
        if not any(name == b"host" for name, _ in headers):
            headers.append((b"host", b"127.0.0.1"))
        lines = [self.method.encode() + b" " + target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in (*headers, (b"connection", b"close"))]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class ChannelLadder(Ladder):
    """A loop whose segments name its channel."""

    def __init__(self, channel: str) -> None:
        super().__init__()
        self.media_id = channel

    def segment(self, rendition: str, position: int) -> bytes:
        return super().segment(self.media_id, position)


class ChannelLadders:
    """A loop per channel."""

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:
        return ChannelLadder(channel_arn)

    def loop(self, media_id: str) -> MediaLoop | None:
        return ChannelLadder(media_id)


class Edge(NamedTuple):
    """The edge with two private channels, both live: the attacker's and the other viewer's."""

    app: Any
    site: Any
    """The edge and the API, as a server serves them."""
    resources: SqliteResourceStore
    own: Arn
    other: Arn

    def send(self, request: Hostile) -> AsgiResponse:
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path.decode("utf-8", "replace"),
            "raw_path": request.path,
            "query_string": request.query,
            "headers": request.headers,
            "client": ("192.0.2.7", 5000),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return AsgiResponse(sent)

    def start(self, channel: Arn) -> tuple[str, str]:
        """Start a session; the paths of a variant playlist and of a segment."""
        token = f"token={_token(channel)}".encode()
        multivariant = self.send(Hostile(channel.playback_path.encode(), token))
        assert multivariant.status == 200
        variant = _path(multivariant)
        return variant, _path(self.send(Hostile(variant.encode())))


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    resources, frozen = SqliteResourceStore(":memory:"), FrozenClock()
    settings = LocalIvsSettings(rate_limits=False, media=ChannelLadders())
    components = build(resources, settings, AdvanceableClock(frozen))
    components.ivs.call(HERE, "ImportPlaybackKeyPair", {"publicKeyMaterial": pem(1)}, "")
    own, other = (
        parse_arn(components.ivs.call(HERE, "CreateChannel", {"authorized": True}, "")["channel"]["arn"])
        for _ in range(2)
    )
    for channel in (own, other):
        start_stream(resources, channel)
    frozen.at += STREAM_SECONDS
    yield Edge(components.edge, components.site, resources, own, other)
    resources.close()


@pytest.fixture(scope="module")
def server(edge: Edge) -> Iterator[Address]:
    """The server of `tokensvc ivs serve`, on a socket."""
    with serving(edge.site, "hostile edge") as url:
        yield Address("127.0.0.1", int(url.rpartition(":")[2]))


def _token(channel: Arn, key: int = 1, header: object = None, **claims: Any) -> str:
    payload = {"aws:channel-arn": str(channel), "exp": int(START) + STREAM_SECONDS + 300, **claims}
    return encode_token(private_key(key), header or {"alg": "ES384", "typ": "JWT"}, payload)


def _path(playlist: AsgiResponse) -> str:
    assert playlist.status == 200
    return playlist.body.decode().splitlines()[-1].removeprefix("http://127.0.0.1:80")


class Attacker:
    """Makes hostile requests."""

    def __init__(self, edge: Edge, seed: int) -> None:
        self._edge = edge
        self._random = random.Random(seed)
        self._own_variant, self._own_segment = edge.start(edge.own)
        self._variant, self._segment = edge.start(edge.other)
        self._own_token, self._token = _token(edge.own), _token(edge.other)

    def requests(self, count: int) -> Iterator[Hostile]:
        kinds: list[Callable[[], Hostile]] = [
            *(self._guessed_session, self._unexpected_path, self._mixed_sessions, self._unexpected_number),
            *(self._changed_token, self._forged_token, self._unexpected_claims, self._unexpected_query),
            *(self._unexpected_headers, self._unexpected_channel, self._unexpected_method),
        ]
        for number in range(count):
            yield kinds[number % len(kinds)]()

    def _guessed_session(self) -> Hostile:
        """The other viewer's URL with one character of its session changed."""
        path = self._random.choice([self._variant, self._segment])
        return Hostile(self._replaced(path, path.index(".") - 1 - self._random.randrange(32)).encode())

    def _unexpected_path(self) -> Hostile:
        """A path that another parser might take for the other viewer's, or for a file."""
        path = self._replaced(self._random.choice([self._variant, self._segment]), -40)
        piece = self._random.choice(
            ["..%2f", "../", "%00", "%2e%2e/", "//", ";x=", "%0d%0aX:%20y", "\\", "%", "%zz", "\x00", "~root/", "*"]
        )
        at = self._random.randrange(len(path) + 1)
        return Hostile(f"{path[:at]}{piece}{path[at:]}".encode())

    def _mixed_sessions(self) -> Hostile:
        """A session id that begins like one and ends like the other, or a rendition of the other kind."""
        own, other = self._own_segment, self._segment
        cut = own.index(".") - 1 - self._random.randrange(31)
        mixed = self._random.choice(
            [other[:cut] + own[cut:], own[:cut] + other[cut:], own.replace(".ts", ".m3u8"), own.replace("/v1/", "/v2/")]
        )
        if mixed in (own, other):  # the two ids have these characters in common
            mixed = self._replaced(other, cut)
        return Hostile(mixed.encode())

    def _unexpected_number(self) -> Hostile:
        """A segment that is not in the window, or no number at all."""
        prefix, rendition, number, suffix = self._own_segment.split(".")
        unexpected = self._random.choice(
            [
                str(int(number) + self._random.randrange(10, 10**6)),
                str(int(number) - self._random.randrange(100, 10**6)),
                *("-1", "0", "1e9", "0x10", "9" * 400, "٣", "NaN", "", " 1", "1.0", f"{number}'--"),
            ]
        )
        rendition = self._random.choice([rendition, "2160p60", "../..", "", "%2e", "chunked"])
        if rendition == "480p30" and unexpected == number:
            rendition = ""
        return Hostile(f"{prefix}.{rendition}.{unexpected}.{suffix}".encode())

    def _changed_token(self) -> Hostile:
        """A valid token with a character changed, removed or inserted, or of the other channel."""
        token, at = self._token, self._random.randrange(len(self._token) - 1)
        changed = self._random.choice(
            [
                self._replaced(token, at),
                token[:at] + token[at + 1 :],
                token[:at] + self._random.choice([".", "=", "+", "/", "%00", "%ff", "%20", "-", "%F0%9F"]) + token[at:],
                token[:at],
                self._own_token,
                f"{token}&token={token}",
                f"{token}{'A' * self._random.randrange(2000, 60_000)}",
            ]
        )
        return self._play(changed)

    def _forged_token(self) -> Hostile:
        """A token that is not signed, or signed with something else."""
        header = self._random.choice(
            [
                {"alg": "none"},
                {"alg": "NonE", "typ": "JWT"},
                {"alg": "HS384", "typ": "JWT"},
                {"alg": "ES256", "typ": "JWT"},
                {"alg": "ES384", "typ": "JWT", "crit": ["exp"], "exp": 1},
                {"alg": ["ES384"]},
                {"alg": "ES384", "jwk": {"kty": "EC"}, "typ": "JWT", "kid": "../../keys/1"},
                {"alg": "ES384", "x5u": "http://192.0.2.1/", "jku": "file:///etc/passwd"},
            ]
        )
        signed = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in (header, {"aws:channel-arn": str(self._edge.other), "exp": int(START) + 900})
        )
        secret = hmac.digest(pem(1).encode(), signed.encode(), sha384)
        der = b"\x30\x44\x02\x20" + secret[:32] + b"\x02\x20" + secret[16:]
        signature = self._random.choice([b"", secret, bytes(96), b"\xff" * 96, secret * 2, der])
        return self._play(f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}")

    def _unexpected_claims(self) -> Hostile:
        """A token that is signed with the right key, with claims that no issuer may sign."""
        value: Any = self._random.choice(
            [None, "", -1, 0, True, [], {}, 2**63, -(2**70), 1e308, "\ud800", "x" * 300, [[]] * 9, {"a": {"b": 1}}]
        )
        name = self._random.choice(
            ["exp", "aws:channel-arn", "aws:viewer-id", "aws:single-use-uuid", "aws:maximum-resolution"]
        )
        return self._play(_token(self._edge.other, **{name: value, "aws:ads-reporting-mode": "NEVER"}))

    def _unexpected_query(self) -> Hostile:
        """A query without a token that a parser could find."""
        query = self._random.choice(
            [
                *(b"", b"&&&", b"=", b"token", b"token=", b"token[]=a.b.c", b"TOKEN=a.b.c", b"token%00=a.b.c"),
                *(b"\xff\xfe=\x80", b"token=%", b"token=%zz", b"token=" + b"%00" * 700, b"a=b&" * 9000),
                *(b"token=" + b"e30." * 2, b"token=" + base64.b64encode(b"[" * 1400) + b".e30.", b"?token=?"),
            ]
        )
        return Hostile(self._edge.other.playback_path.encode(), query)

    def _unexpected_headers(self) -> Hostile:
        """Headers that claim to be somebody or somewhere else, on a request that has no token."""
        value = self._random.choice(
            [b"", b"*", b"null", b"\xff" * 20, b"https://a.example, https://b.example", b"a\x00b", b"x" * 60_000]
        )
        headers = [
            (
                self._random.choice([b"origin", b"host", b"cookie", b"authorization", b"range", b"x-forwarded-for"]),
                value,
            )
            for _ in range(self._random.randrange(1, 5))
        ]
        path = self._random.choice([self._edge.other.playback_path, self._replaced(self._segment, -40)])
        return Hostile(path.encode(), b"", headers)

    def _unexpected_channel(self) -> Hostile:
        """The other channel's playback path, changed, with its valid token."""
        path = self._edge.other.playback_path
        changed = self._random.choice(
            [
                self._replaced(path, path.index(".m3u8") - 1 - self._random.randrange(12)),
                path.replace("us-west-2", self._random.choice(["us-east-1", "US-WEST-2", "%75s-west-2x", "..", ""])),
                path.replace("000000000000", self._random.choice(["111122223333", "0", "*", "000000000000 "])),
                path.replace("channel", self._random.choice(["stream-key", "playback-key", "channels", ""])),
                path.replace(".m3u8", self._random.choice(["", ".ts", ".m3u8%00", ".m3u8/", ".m3u8;.ts", ".M3U8"])),
                path.replace("/v1/", self._random.choice(["/v2/", "/v1/../v1/", "/"])),
            ]
        )
        return Hostile(changed.encode(), f"token={self._own_token}".encode())

    def _unexpected_method(self) -> Hostile:
        """A method that the edge does not have, on any URL."""
        method = self._random.choice(
            ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "X" * 99]
        )
        path = self._random.choice([self._variant, self._segment, self._edge.other.playback_path, "/api/video/"])
        return Hostile(path.encode(), f"token={self._token}".encode(), [], method)

    def _play(self, token: str) -> Hostile:
        return Hostile(self._edge.other.playback_path.encode(), f"token={token}".encode("utf-8", "surrogatepass"))

    def _replaced(self, text: str, position: int) -> str:
        """The text with another letter or digit at this position."""
        position %= len(text)
        return text[:position] + self._random.choice(ALPHANUMERIC.replace(text[position], "")) + text[position + 1 :]


def test_hostile_requests_are_client_errors_and_get_no_media(edge: Edge) -> None:
    for request in Attacker(edge, seed=18).requests(REQUESTS):
        response = edge.send(request)
        assert 400 <= response.status < 500, (request, response.status, response.body[:200])
        assert not response.body.startswith(SYNC_BYTE), request


def test_hostile_requests_to_a_server_are_client_errors_and_get_no_media(edge: Edge, server: Address) -> None:
    for request in Attacker(edge, seed=19).requests(REQUESTS_ON_SOCKETS):
        with Connection(server) as connection:
            connection.send(request.encode())
            received = connection.read_all()
        (response,) = received.responses
        assert received.leftover == b"", request
        assert 400 <= response.status < 500, (request, response.status, response.body[:200])
        assert not response.body.startswith((SYNC_BYTE, b"#EXTM3U")), request
    _, segment = edge.start(edge.own)
    assert label_of(exchange(server, Hostile(segment.encode()).encode()).body).startswith(str(edge.own))


def test_players_still_play_afterwards(edge: Edge) -> None:
    for channel in (edge.own, edge.other):
        _, segment = edge.start(channel)
        assert label_of(edge.send(Hostile(segment.encode())).body).startswith(str(channel))


def test_a_session_gets_only_the_media_of_its_channel_whatever_else_it_sends(edge: Edge) -> None:
    """Neither a token of another channel nor a header changes what a session's URL stands for."""
    _, segment = edge.start(edge.own)
    query = f"token={_token(edge.other)}&channel={edge.other}".encode()
    headers = [(b"host", b"other.example"), (b"x-original-url", edge.other.playback_path.encode())]
    assert label_of(edge.send(Hostile(segment.encode(), query, headers)).body).startswith(str(edge.own))


def test_a_hostile_host_header_is_not_in_the_playlist(edge: Edge) -> None:
    for host in (b"a.example/x", b"a.example\r\nX: y", b"user@a.example", b'a"b', b"\xff", b"[::1"):
        response = edge.send(
            Hostile(edge.own.playback_path.encode(), f"token={_token(edge.own)}".encode(), [(b"host", host)])
        )
        assert response.status == 200
        assert host not in response.body
        assert b"http://127.0.0.1:80/v1/playlist/" in response.body
