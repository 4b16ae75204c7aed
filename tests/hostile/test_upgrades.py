"""Requests that ask for another protocol, which the service never speaks.

Invariants
- A request with `Connection: Upgrade` is answered as plain HTTP/1.1; its body is read by its own framing.
- The connection ends with that answer: what follows the request is dropped, never parsed as another one. Otherwise an
  anonymous client's bytes act with the key of whoever uses the proxy's connection next.
- CONNECT and HTTP/2's preface are refused, and the connection is closed.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.e2e.processes import run
from tests.e2e.site import Site
from tests.hostile import messages
from tests.hostile.messages import bearer, token_body, unique
from tests.hostile.wire import CLOSED, LIVE, Address, Connection, exchange, pause, send_in_parts, settle

ROUNDS = 20
UPGRADES = [
    (b"Connection: Upgrade", b"Upgrade: anything"),
    (b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    (b"Connection: keep-alive, Upgrade", b"Upgrade: TLS/1.0, HTTP/2.0"),
    (b"Upgrade: x", b"Connection: UPGRADE"),
    (b"Connection: Upgrade", b"Upgrade: x", b"Expect: 100-continue"),
    (b"Connection: keep-alive", b"Connection: Upgrade", b"Upgrade: x"),
]
FRAMINGS = {"content-length": messages.post, "chunked": messages.post_chunked}


@pytest.fixture(params=FRAMINGS)
def framing(request: pytest.FixtureRequest) -> Any:
    return FRAMINGS[request.param]


@pytest.mark.parametrize("upgrade", UPGRADES, ids=lambda headers: " ".join(h.decode() for h in headers)[:60])
def test_it_is_answered_as_plain_http_with_its_body(
    entry: Address, direct: Address, key: str, channel: str, framing: Any, upgrade: tuple[bytes, ...]
) -> None:
    viewer = unique("upgrade")
    request = framing("/v1/tokens", token_body(channel, viewer), bearer(key), *upgrade)
    with Connection(entry) as connection:
        connection.send(request)
        answer = connection.read_response()
        assert (answer.status, answer.viewer) == (201, viewer)
        if entry == direct:
            assert answer.closes
            received = connection.read_all()
            assert (received.responses, received.leftover, received.ending) == ([], b"", CLOSED)


def test_a_body_split_anywhere_is_read_whole(direct: Address, key: str, channel: str, framing: Any) -> None:
    """One connection for each position; the second part is sent when the service has read the first."""
    viewer = unique("split")
    request = framing("/v1/tokens", token_body(channel, viewer), bearer(key), *UPGRADES[0])
    connections = [Connection(direct) for _ in request[1:]]
    try:
        for at, connection in enumerate(connections, 1):
            connection.send(request[:at])
        settle(direct)
        for at, connection in enumerate(connections, 1):
            connection.send(request[at:])
        for at, connection in enumerate(connections, 1):
            received = connection.read_all()
            assert (received.statuses, received.leftover, received.ending) == ([201], b"", CLOSED), request[:at]
            assert received.responses[0].viewer == viewer
            assert received.responses[0].closes
    finally:
        for connection in connections:
            connection.socket.close()


@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_what_follows_it_is_dropped(
    direct: Address, key: str, channel: str, framing: Any, together: bool
) -> None:
    viewer, other = unique("upgrade"), unique("behind")
    request = framing("/v1/tokens", token_body(channel, viewer), bearer(key), *UPGRADES[0])
    behind = messages.revocation(channel, other, key)
    received = send_in_parts(direct, [request + behind] if together else [request, behind])
    assert (received.statuses, received.leftover) == ([201], b"")
    assert received.responses[0].viewer == viewer
    assert other not in _revoked(direct, channel, key)


def test_a_get_with_it_is_answered_and_ends_the_connection(direct: Address) -> None:
    received = send_in_parts(direct, [messages.get("/livez", *UPGRADES[1]) + LIVE])
    assert (received.statuses, received.ending) == ([200], CLOSED)
    assert received.responses[0].closes


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/tokens/batch", "/no-such-route", "/livez"])
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_the_body_of_one_that_is_refused_is_no_request(direct: Address, path: str, together: bool) -> None:
    head, _, body = messages.post(path, LIVE * 3, *UPGRADES[0]).partition(b"\r\n\r\n")
    parts = [head + b"\r\n\r\n", body]
    received = send_in_parts(direct, [b"".join(parts)] if together else parts)
    assert len(received.responses) == 1
    assert received.statuses[0] in {400, 401, 404, 405}
    assert received.responses[0].closes
    assert received.leftover == b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")
def test_curls_upgrade_to_http2_gets_its_answer(entry: Address, site: Site, key: str, channel: str) -> None:
    viewer = unique("curl")
    body = token_body(channel, viewer).decode()
    url = f"http://{entry.host}:{entry.port}/v1/tokens"
    options = ["--silent", "--max-time", "20", "--http2", "--fail-with-body"]
    said = run(["curl", *options, "-H", bearer(key).decode(), "-d", body, url], site.folder, site.environ)
    assert said.json["token"]


@pytest.mark.parametrize(
    "request_line",
    [b"CONNECT tokens.example:443 HTTP/1.1", b"CONNECT /v1/tokens HTTP/1.1", b"PRI * HTTP/2.0"],
    ids=["CONNECT", "CONNECT to a path", "HTTP/2's preface"],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_tunnels_and_http2_are_refused(direct: Address, request_line: bytes, together: bool) -> None:
    refused, behind = messages.head(request_line), b"SM\r\n\r\n" + LIVE
    received = send_in_parts(direct, [refused + behind] if together else [refused, behind])
    assert len(received.responses) == 1
    assert received.statuses[0] in {400, 405, 505}
    assert received.responses[0].closes
    assert (received.leftover, received.ending) == (b"", CLOSED)


def test_http2s_preface_as_clients_send_it_is_refused(direct: Address) -> None:
    received = send_in_parts(direct, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"])
    assert (len(received.responses), received.ending) == (1, CLOSED)
    assert received.statuses[0] in {400, 405, 505}


@pytest.mark.parametrize("length", ["content-length", "chunked"])
def test_no_anonymous_body_acts_with_the_key_of_the_next_caller(
    entry: Address, direct: Address, site: Site, key: str, length: str
) -> None:
    """The attack: the body is the beginning of a revocation, and the next caller's head would complete it."""
    channel = str(site.new_channel(name="attacked")["arn"])
    victims = [unique("victim") for _ in range(ROUNDS)]
    for victim in [unique("first"), *victims]:
        swallow = b"POST /v1/revocations HTTP/1.1\r\nX-Swallow: "
        if length == "chunked":
            framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(swallow), swallow)
            head = messages.head(b"POST /v1/tokens HTTP/1.1", b"Transfer-Encoding: chunked", *UPGRADES[0])
        else:
            framed = swallow
            head = messages.head(b"POST /v1/tokens HTTP/1.1", b"Content-Length: %d" % len(swallow), *UPGRADES[0])
        with Connection(entry) as attacker:
            attacker.send(head)
            pause(entry, direct)
            attacker.send(framed)
            pause(entry, direct)
            if entry == direct:
                attacker.send(messages.token(channel, victim, key))
                received = attacker.read_all()
                assert received.statuses == [401]
                continue
            answer = exchange(entry, messages.token(channel, victim, key))
            assert (answer.status, answer.viewer) == (201, victim), answer
    assert _revoked(direct, channel, key) == []


@pytest.mark.long
def test_a_proxys_client_may_go_on_after_it(proxy: Address, key: str, channel: str) -> None:
    """The service's connection to the proxy ends; the client's connection to the proxy need not."""
    for _ in range(ROUNDS):
        viewers = unique("upgrade"), unique("after")
        upgrade = messages.token(channel, viewers[0], key, *UPGRADES[0])
        for request, viewer in zip([upgrade, messages.token(channel, viewers[1], key)], viewers, strict=True):
            answer = exchange(proxy, request)
            assert (answer.status, answer.viewer) == (201, viewer)


def _revoked(address: Address, channel: str, key: str) -> list[str]:
    """The viewers of the channel against whom there is a revocation."""
    answer = exchange(address, messages.get(f"/v1/revocations?channelArn={channel}", bearer(key)))
    assert answer.status == 200, answer
    found = json.loads(answer.body)["revocations"]
    return [target["viewerId"] for one in found for target in one["targets"]]


