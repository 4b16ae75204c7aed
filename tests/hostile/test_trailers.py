"""Trailers: fields after a chunked body, which no route reads.

Invariants
- Trailers are dropped: a trailer does not authenticate, identify the client, frame a body or end the connection,
  however the request is split into packets.
"""

from __future__ import annotations

import json

import pytest

from tests.hostile import messages
from tests.hostile.messages import SENTINEL, bearer, token_body, unique
from tests.hostile.wire import OPEN, Address, Connection, exchange, send_in_parts, sent_in_two_parts, wait_until_read
from tests.support.deployment import Service
from tests.support.processes import wait_until

FORGED_ADDRESS = "203.0.113.77"


def test_authorization_in_a_trailer_does_not_authenticate(entry: Address, key: str, channel: str) -> None:
    body = token_body(channel, unique("trailer"))
    request = messages.post_chunked("/v1/tokens", body, trailers=(bearer(key),))
    assert exchange(entry, request).status == 401


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/tokens/batch", "/v1/revocations"])
def test_authorization_in_a_trailer_does_not_authenticate_however_it_is_split(
    direct: Address, key: str, channel: str, path: str
) -> None:
    request = messages.post_chunked(path, token_body(channel, unique("trailer")), trailers=(bearer(key),))
    assert {connection.read_response().status for _, connection in sent_in_two_parts(direct, request)} == {401}


def test_the_head_takes_precedence_over_the_trailer(entry: Address, key: str, channel: str) -> None:
    viewer = unique("trailer")
    trailers = (b"Authorization: Bearer tsk_0_0",)
    request = messages.post_chunked("/v1/tokens", token_body(channel, viewer), bearer(key), trailers=trailers)
    response = exchange(entry, request)
    assert (response.status, response.viewer) == (201, viewer)


@pytest.mark.parametrize(
    "trailer",
    [
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Host: elsewhere.example",
        b"Connection: close",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "in a later packet"])
def test_no_trailer_affects_the_next_request(
    direct: Address, key: str, channel: str, trailer: bytes, together: bool
) -> None:
    """A service that rejects such a trailer does so once and closes the connection."""
    viewer = unique("trailer")
    request = messages.post_chunked("/v1/tokens", token_body(channel, viewer), bearer(key), trailers=(trailer,))
    at = request.rindex(trailer)
    with Connection(direct) as connection:
        if together:
            connection.send(request + SENTINEL)
        else:
            connection.send(request[:at])
            wait_until_read(direct)
            connection.send(request[at:] + SENTINEL)
        received = connection.read_all()
    assert (received.statuses, received.leftover, received.ending) in [
        ([201, 404], b"", OPEN),
        ([400], b"", "closed"),
        ([201], b"", "closed"),
    ]
    if received.statuses[0] == 201:
        assert received.responses[0].viewer == viewer


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Proto"])
@pytest.mark.parametrize("in_head", [True, False], ids=["with the proxy's header", "alone"])
def test_a_trailer_does_not_identify_the_client(
    entry: Address, direct: Address, service: Service, key: str, channel: str, name: str, in_head: bool
) -> None:
    """The service trusts its proxy, which is on the loopback address; the proxy vouches for the head only."""
    viewer, forwarded_for = unique("trailer"), f"198.51.100.{len(name)}"
    headers = [bearer(key)]
    if entry == direct and in_head:
        headers.append(f"X-Forwarded-For: {forwarded_for}".encode())
    trailers = (f"{name}: {FORGED_ADDRESS}".encode(),)
    response = exchange(
        entry, messages.post_chunked("/v1/tokens", token_body(channel, viewer), *headers, trailers=trailers)
    )
    assert response.status == 201
    line = _log_line(service, response.headers["x-request-id"])
    assert line["client"] == (forwarded_for if entry == direct and in_head else "127.0.0.1")


@pytest.mark.parametrize("path", ["/v1/tokens/batch", "/no-such-route"])
def test_a_trailer_does_not_identify_the_client_of_a_request_handled_in_a_task(
    direct: Address, service: Service, key: str, path: str
) -> None:
    request = messages.post_chunked(path, b"{}", bearer(key), trailers=(f"X-Forwarded-For: {FORGED_ADDRESS}".encode(),))
    with Connection(direct) as connection:
        connection.send(request)
        response = connection.read_response()
    assert _log_line(service, response.headers["x-request-id"])["client"] == "127.0.0.1"


@pytest.mark.parametrize("count", [1, 100], ids=["one large", "many"])
def test_trailers_are_limited(direct: Address, key: str, channel: str, count: int) -> None:
    """4 MiB of trailers get at most one response, and the connection is closed before all of them have been read."""
    trailers = tuple(b"X-%d: " % number + b"x" * (4_194_304 // count) for number in range(count))
    request = messages.post_chunked(
        "/v1/tokens", token_body(channel, unique("trailer")), bearer(key), trailers=trailers
    )
    received = send_in_parts(direct, [request])
    assert len(received.responses) <= 1
    assert received.statuses in ([], [400], [413], [431])
    assert received.ending != OPEN


def _log_line(service: Service, request_id: str) -> dict[str, object]:
    """The access log's line of this request."""

    def lines() -> list[str]:
        whole = [line for line in service.process.err.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in whole if request_id in line and '"request"' in line]

    (line,) = wait_until(lines, "the request is in the log")
    found: dict[str, object] = json.loads(line)
    return found
