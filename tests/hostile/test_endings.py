"""Closing a connection never loses the response to a complete request.

Invariants
- Every complete request gets its response, in order, before the connection is closed, whether garbage or FIN follows
  it, in the same packet or later.
- A request gets one response. When the response was sent before the body was read, what follows is that body; when it
  exceeds the limit, the connection is closed without another response.
"""

from __future__ import annotations

import threading

import pytest

from tests.hostile import messages
from tests.hostile.messages import bearer, head, unique
from tests.hostile.observed import revoked_viewers
from tests.hostile.wire import (
    CLOSED,
    RESET,
    TIMEOUT_SECONDS,
    Address,
    Connection,
    Received,
    send_in_parts,
    wait_until_read,
)
from tests.support.deployment import Service

MIB = 1024 * 1024
GARBAGE = {
    "words": (b"garbage\r\n\r\n", 400),
    "a bad method": (b"P\x00ST / HTTP/1.1\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an unknown version": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "a bad header": (head(b"GET /livez HTTP/1.1", b"Bad Name: x"), 400),
    "a bad length": (head(b"POST /v1/tokens HTTP/1.1", b"Content-Length: 5x"), 400),
    "a bad chunk": (head(b"POST /v1/tokens HTTP/1.1", b"Transfer-Encoding: chunked") + b"zz\r\n", 400),
    "a large head": (head(b"GET /livez HTTP/1.1", b"X: " + b"x" * 20_000), 431),
    "a large head without an end": (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
}
VALID = {
    "token": (messages.token, 201),
    "batch": (messages.batch, 200),
    "revocation": (messages.revocation, 202),
}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_a_valid_request_gets_its_response_before_garbage_is_rejected(
    direct: Address, key: str, channel: str, kind: str, garbage: str, together: bool
) -> None:
    (make, status), (broken, rejected) = VALID[kind], GARBAGE[garbage]
    viewer = unique("valid")
    request = make(channel, viewer, key)
    received = send_in_parts(direct, [request + broken] if together else [request, broken])
    assert received.statuses[:1] == [status]
    assert received.statuses in ([status, rejected], [status, 400], [status, 505])
    assert (received.leftover, received.ending) == (b"", CLOSED)
    _assert_responses(received, 0, kind, viewer)
    if kind == "revocation":
        assert viewer in revoked_viewers(direct, channel, key)


@pytest.mark.parametrize("last", [b"garbage\r\n\r\n", b"", b"GET /livez HT"], ids=["garbage", "nothing", "half a head"])
def test_several_requests_get_responses_in_order_before_the_connection_ends(
    direct: Address, key: str, channel: str, last: bytes
) -> None:
    order = ["token", "revocation", "token", "batch", "batch", "token", "revocation"]
    viewers = [unique(kind) for kind in order]
    stream = b"".join(VALID[kind][0](channel, viewer, key) for kind, viewer in zip(order, viewers, strict=True))
    received = _send_and_finish(direct, stream + last)
    statuses = [VALID[kind][1] for kind in order]
    assert received.statuses[: len(order)] == statuses
    assert received.statuses[len(order) :] in ([400], []) if last else received.statuses == statuses
    assert (received.leftover, received.ending) == (b"", CLOSED)
    for number, (kind, viewer) in enumerate(zip(order, viewers, strict=True)):
        _assert_responses(received, number, kind, viewer)
        if kind == "revocation":
            assert viewer in revoked_viewers(direct, channel, key)


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("fin", ["with the request", "later"])
def test_a_request_followed_by_fin_gets_its_complete_response(
    direct: Address, key: str, channel: str, kind: str, fin: str
) -> None:
    viewer = unique("fin")
    make, status = VALID[kind]
    request = make(channel, viewer, key)
    received = _send_and_finish(direct, request, pause_before_fin=fin == "later")
    assert (received.statuses, received.leftover, received.ending) == ([status], b"", CLOSED)
    _assert_responses(received, 0, kind, viewer)
    if kind == "revocation":
        assert viewer in revoked_viewers(direct, channel, key)


@pytest.mark.parametrize("kind", VALID)
def test_a_request_in_pieces_followed_by_fin_gets_its_complete_response(
    direct: Address, key: str, channel: str, kind: str
) -> None:
    """Its body arrives after its head, so it is handled in a task, which may start after the FIN was read."""
    viewer = unique("fin")
    make, status = VALID[kind]
    request = make(channel, viewer, key)
    with Connection(direct) as connection:
        connection.send(request[:-5])
        wait_until_read(direct)
        connection.send(request[-5:])
        connection.finish()
        received = connection.read_all()
    assert (received.statuses, received.leftover, received.ending) == ([status], b"", CLOSED)
    _assert_responses(received, 0, kind, viewer)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9], ids=["in its line", "in its head", "in its body"])
def test_an_incomplete_request_followed_by_fin_gets_no_token(
    direct: Address, key: str, channel: str, part: float
) -> None:
    viewer = unique("half")
    request = messages.revocation(channel, viewer, key)
    received = _send_and_finish(direct, request[: int(len(request) * part)])
    assert received.statuses in ([], [400])
    assert received.ending in {CLOSED, RESET}
    assert viewer not in revoked_viewers(direct, channel, key)


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/tokens/batch", "/v1/revocations"])
@pytest.mark.parametrize("body", [b"zz\r\n", b"2\r\n{}XX", b""], ids=["a bad size", "a bad end", "no body, then FIN"])
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_nothing_is_written_to_a_closed_connection(
    direct: Address, service: Service, key: str, path: str, body: bytes, together: bool
) -> None:
    """A task that starts after its request was rejected sends no 100 Continue and raises no exception."""
    log_start = len(service.process.err)
    request_head = head(
        b"POST %b HTTP/1.1" % path.encode(), bearer(key), b"Expect: 100-continue", b"Transfer-Encoding: chunked"
    )
    with Connection(direct) as connection:
        connection.send(request_head + body if together else request_head)
        if not together:
            wait_until_read(direct)
            connection.send(body)
        if not body:
            connection.finish()
        received = connection.read_all()
    assert (received.statuses, received.leftover, received.ending) == ([400] if body else [], b"", CLOSED)
    wait_until_read(direct)
    log = service.process.err[log_start:]
    assert "internal error" not in log
    assert "Traceback" not in log


REJECTED = {
    "401": (401, b"POST /v1/tokens HTTP/1.1", False),
    "401, a batch": (401, b"POST /v1/tokens/batch HTTP/1.1", False),
    "404": (404, b"POST /no-such-route HTTP/1.1", False),
    "405": (405, b"PUT /v1/tokens HTTP/1.1", False),
    "413": (413, b"POST /v1/tokens HTTP/1.1", True),
    "413, a batch": (413, b"POST /v1/tokens/batch HTTP/1.1", True),
}


@pytest.mark.parametrize("size", [3 * MIB, 16 * MIB], ids=["3 MiB", "16 MiB"])
@pytest.mark.parametrize("rejected", REJECTED)
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("reads", ["while sending", "afterwards"])
def test_a_large_body_after_an_error_gets_no_second_response(
    direct: Address, key: str, rejected: str, size: int, framing: str, reads: str
) -> None:
    """A length above the limit may be rejected before anything else is checked. The service reads and discards 3 MiB,
    so that the connection is not reset; a client that sends much more may see a reset."""
    status, line, authorized = REJECTED[rejected]
    received = _send_large(direct, line, [bearer(key)] if authorized else [], size, framing, reads == "afterwards")
    assert received.statuses in ([status], [413] if framing == "length" else [status])
    assert received.leftover == b""
    assert received.ending in ({CLOSED} if size == 3 * MIB else {CLOSED, RESET})


@pytest.mark.long
@pytest.mark.parametrize("rejected", [name for name in REJECTED if "batch" not in name])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_large_body_after_an_error_gets_no_second_response_behind_a_proxy(
    proxy: Address, direct: Address, key: str, channel: str, rejected: str, framing: str
) -> None:
    """If the connection were reset while the proxy is sending, nginx would respond with 502 and HAProxy not at all."""
    status, line, authorized = REJECTED[rejected]
    received = _send_large(proxy, line, [bearer(key)] if authorized else [], 3 * MIB, framing, False, quiet_seconds=1.5)
    assert len(received.responses) == 1
    assert received.statuses[0] in {status, 413}
    viewer = unique("next")
    response = send_in_parts(proxy, [messages.token(channel, viewer, key, b"Connection: close")])
    assert (response.statuses, response.responses[0].viewer) == ([201], viewer)


def _send_large(
    address: Address,
    line: bytes,
    headers: list[bytes],
    size: int,
    framing: str,
    reads_afterwards: bool,
    quiet_seconds: float = TIMEOUT_SECONDS,
) -> Received:
    piece = b" " * 65_536
    with Connection(address) as connection:

        def send() -> None:
            if framing == "length":
                connection.send(head(line, *headers, b"Content-Length: %d" % size))
            else:
                connection.send(head(line, *headers, b"Transfer-Encoding: chunked"))
            for _ in range(size // len(piece)):
                if not connection.send(piece if framing == "length" else b"%x\r\n%b\r\n" % (len(piece), piece)):
                    return
            connection.send(b"" if framing == "length" else b"0\r\n\r\n")

        if reads_afterwards:
            send()
            return connection.read_all()
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        first = connection.read_response()
        received = connection.read_all(quiet_seconds)
        sender.join(10)
        return received._replace(responses=[first, *received.responses])


def _send_and_finish(address: Address, data: bytes, *, pause_before_fin: bool = False) -> Received:
    with Connection(address) as connection:
        connection.send(data)
        if pause_before_fin:
            wait_until_read(address)
        connection.finish()
        return connection.read_all()


def _assert_responses(received: Received, number: int, kind: str, viewer: str) -> None:
    response = received.responses[number]
    if kind == "token":
        assert response.viewer == viewer
    elif kind == "batch":
        assert response.batch_viewers == [viewer]
