"""Requests to switch to another protocol, which the service never does.

Invariants
- A request with `Connection: Upgrade` is handled as plain HTTP/1.1; its framing headers determine its body.
- The connection ends with that response: what follows the request is dropped and never parsed as another request.
  Otherwise a request that an anonymous client smuggles in could take the API key of the next client on the proxy's
  connection.
- CONNECT and HTTP/2's preface are rejected, and the connection is closed.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from tests.hostile import messages
from tests.hostile.messages import bearer, token_body, unique
from tests.hostile.observed import revoked_viewers
from tests.hostile.wire import (
    CLOSED,
    LIVE,
    Address,
    Connection,
    exchange,
    send_in_parts,
    sent_in_two_parts,
    wait_until_received,
)
from tests.support.deployment import Deployment
from tests.support.processes import run

ROUNDS = 20
ATTACKS = [(0, 0.0), (1_000, 0.0), (1_000, 0.0005), (20_000, 0.0), (50_000, 0.0)]
"""Filler bytes in the attacker's body, and seconds between its head and its body. With these values nginx sends head
and body in different packets before it has received the response to the head."""
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
def test_an_upgrade_is_handled_as_plain_http_with_its_body(
    entry: Address, direct: Address, key: str, channel: str, framing: Any, upgrade: tuple[bytes, ...]
) -> None:
    viewer = unique("upgrade")
    request = framing("/v1/tokens", token_body(channel, viewer), bearer(key), *upgrade)
    with Connection(entry) as connection:
        connection.send(request)
        response = connection.read_response()
        assert (response.status, response.viewer) == (201, viewer)
        if entry == direct:
            assert response.closes
            received = connection.read_all()
            assert (received.responses, received.leftover, received.ending) == ([], b"", CLOSED)


def test_a_body_split_anywhere_is_read_completely(direct: Address, key: str, channel: str, framing: Any) -> None:
    viewer = unique("split")
    request = framing("/v1/tokens", token_body(channel, viewer), bearer(key), *UPGRADES[0])
    for at, connection in sent_in_two_parts(direct, request):
        received = connection.read_all()
        assert (received.statuses, received.leftover, received.ending) == ([201], b"", CLOSED), request[:at]
        assert received.responses[0].viewer == viewer
        assert received.responses[0].closes


@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_data_after_an_upgrade_is_dropped(
    direct: Address, key: str, channel: str, framing: Any, together: bool
) -> None:
    viewer, other = unique("upgrade"), unique("following")
    request = framing("/v1/tokens", token_body(channel, viewer), bearer(key), *UPGRADES[0])
    following = messages.revocation(channel, other, key)
    received = send_in_parts(direct, [request + following] if together else [request, following])
    assert (received.statuses, received.leftover) == ([201], b"")
    assert received.responses[0].viewer == viewer
    assert other not in revoked_viewers(direct, channel, key)


def test_a_get_with_an_upgrade_gets_its_response_and_ends_the_connection(direct: Address) -> None:
    received = send_in_parts(direct, [messages.get("/livez", *UPGRADES[1]) + LIVE])
    assert (received.statuses, received.ending) == ([200], CLOSED)
    assert received.responses[0].closes


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/tokens/batch", "/no-such-route", "/livez"])
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_the_body_of_a_rejected_upgrade_is_not_a_request(direct: Address, path: str, together: bool) -> None:
    head, _, body = messages.post(path, LIVE * 3, *UPGRADES[0]).partition(b"\r\n\r\n")
    parts = [head + b"\r\n\r\n", body]
    received = send_in_parts(direct, [b"".join(parts)] if together else parts)
    assert len(received.responses) == 1
    assert received.statuses[0] in {400, 401, 404, 405}
    assert received.responses[0].closes
    assert received.leftover == b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")
def test_an_upgrade_to_http2_by_curl_gets_its_response(
    entry: Address, deployment: Deployment, key: str, channel: str
) -> None:
    viewer = unique("curl")
    body = token_body(channel, viewer).decode()
    url = f"http://{entry.host}:{entry.port}/v1/tokens"
    options = ["--silent", "--max-time", "20", "--http2", "--fail-with-body"]
    result = run(["curl", *options, "-H", bearer(key).decode(), "-d", body, url], deployment.folder, deployment.environ)
    assert result.json["token"]


@pytest.mark.parametrize(
    "request_line",
    [b"CONNECT tokens.example:443 HTTP/1.1", b"CONNECT /v1/tokens HTTP/1.1", b"PRI * HTTP/2.0"],
    ids=["CONNECT", "CONNECT to a path", "HTTP/2's preface"],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_tunnels_and_http2_are_rejected(direct: Address, request_line: bytes, together: bool) -> None:
    rejected, following = messages.head(request_line), b"SM\r\n\r\n" + LIVE
    received = send_in_parts(direct, [rejected + following] if together else [rejected, following])
    assert len(received.responses) == 1
    assert received.statuses[0] in {400, 405, 505}
    assert received.responses[0].closes
    assert (received.leftover, received.ending) == (b"", CLOSED)


def test_the_http2_preface_of_real_clients_is_rejected(direct: Address) -> None:
    received = send_in_parts(direct, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"])
    assert (len(received.responses), received.ending) == (1, CLOSED)
    assert received.statuses[0] in {400, 405, 505}


@pytest.mark.parametrize("framing_header", [b"Content-Length", b"Transfer-Encoding"])
def test_an_anonymous_body_that_is_sent_late_is_not_a_request(
    direct: Address, key: str, channel: str, framing_header: bytes
) -> None:
    """The attack on one connection: the next caller's data would complete the request in the body."""
    victim = unique("victim")
    head, body = _attack(framing_header, 0)
    received = send_in_parts(direct, [head, body, messages.token(channel, victim, key)])
    assert (received.statuses, received.leftover) == ([401], b"")
    assert victim not in revoked_viewers(direct, channel, key)


@pytest.mark.long
@pytest.mark.parametrize("framing_header", [b"Content-Length", b"Transfer-Encoding"])
def test_an_anonymous_body_never_uses_the_next_callers_key(
    proxy: Address, direct: Address, deployment: Deployment, key: str, framing_header: bytes
) -> None:
    """The attack through a proxy: the body starts a revocation request, which the next caller's head completes."""
    channel = str(deployment.new_channel(name="attacked")["arn"])
    assert exchange(direct, messages.token(channel, unique("first"), key)).status == 201
    responses = []
    for filler_bytes, seconds in ATTACKS:
        head, body = _attack(framing_header, filler_bytes)
        for _ in range(ROUNDS):
            with Connection(proxy) as attacker:
                attacker.send(head)
                time.sleep(seconds)
                attacker.send(body)
                attacker.read_response()
                wait_until_received(proxy, direct)
                victim = unique("victim")
                response = exchange(proxy, messages.token(channel, victim, key))
                responses.append((response.status, response.viewer == victim))
    assert (revoked_viewers(direct, channel, key), set(responses)) == ([], {(201, True)})


@pytest.mark.long
def test_a_client_of_a_proxy_can_continue_after_an_upgrade(proxy: Address, key: str, channel: str) -> None:
    """The service closes the proxy's connection; the proxy need not close its client's."""
    for _ in range(ROUNDS):
        viewers = unique("upgrade"), unique("after")
        upgrade = messages.token(channel, viewers[0], key, *UPGRADES[0])
        for request, viewer in zip([upgrade, messages.token(channel, viewers[1], key)], viewers, strict=True):
            response = exchange(proxy, request)
            assert (response.status, response.viewer) == (201, viewer)


def _attack(framing_header: bytes, filler_bytes: int) -> tuple[bytes, bytes]:
    """The head and body of an anonymous request. The filler is blank lines, which are ignored before a request, so the
    body may be split anywhere in it."""
    body = b"\r\n" * (filler_bytes // 2) + b"POST /v1/revocations HTTP/1.1\r\nX-Swallow: "
    framing = b"Content-Length: %d" % len(body)
    if framing_header == b"Transfer-Encoding":
        framing, body = b"Transfer-Encoding: chunked", messages.chunked(body, size=len(body))
    return messages.head(b"POST /v1/tokens HTTP/1.1", framing, *UPGRADES[0]), body
