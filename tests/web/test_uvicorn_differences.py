"""Intended differences between our protocol and uvicorn's, and no others.

Each row of the table is run on both. A row that no longer differs must be removed; a difference without a row is a bug.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.connections import Application, feed, open_connection, request, run_until_idle
from tokensvc.web.protocol import Protocol
from tokensvc.web.request_head import ENCODED_BODY_MAX_BYTES, HEAD_MAX_BYTES

OK = request(path="/other")
UPGRADE = b"Connection: Upgrade\r\nUpgrade: x\r\n"
CHUNKED = b"POST /other HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /other HTTP/1.1\r\n"


class Outcome(NamedTuple):
    """What the client and the application receive."""

    statuses: list[int]
    bodies: list[bytes]
    """As the application received them."""


class Difference(NamedTuple):
    sent: list[bytes]
    uvicorn: Outcome
    ours: Outcome
    reason: str


DIFFERENCES = {
    "upgrade": Difference(
        [request(b"", more=UPGRADE, path="/other", length=4), b"body"],
        Outcome([200, 400], [b""]),
        Outcome([200], [b"body"]),
        "the body is not read as the next request; the connection ends with the request",
    ),
    "garbage after a request": Difference(
        [OK + b"nonsense\r\n\r\n"],
        Outcome([400], [b"body"]),
        Outcome([200, 400], [b"body"]),
        "accepted requests are answered",
    ),
    "trailers": Difference(
        [CHUNKED + b"0\r\nAuthorization: x\r\n\r\n"],
        Outcome([200], [b"+authorization"]),
        Outcome([200], [b""]),
        "trailers are not headers",
    ),
    "no host": Difference([GET + b"\r\n"], Outcome([200], [b""]), Outcome([400], []), "RFC 9112, section 3.2"),
    "two hosts": Difference(
        [GET + b"Host: x\r\nHost: y\r\n\r\n"], Outcome([200], [b""]), Outcome([400], []), "RFC 9112, section 3.2"
    ),
    "an invalid host": Difference(
        [GET + b"Host: a b\r\n\r\n"], Outcome([200], [b""]), Outcome([400], []), "RFC 9112, section 3.2"
    ),
    "two authorizations": Difference(
        [GET + b"Host: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"],
        Outcome([200], [b"+authorization"]),
        Outcome([400], []),
        "two recipients could use different ones",
    ),
    "HTTP/2.0": Difference(
        [GET.replace(b"1.1", b"2.0") + b"Host: x\r\n\r\n"], Outcome([200], [b""]), Outcome([505], []), "not supported"
    ),
    "an unknown transfer coding": Difference(
        [CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n"],
        Outcome([200], [b""]),
        Outcome([501], []),
        "RFC 9112, section 6.1",
    ),
    "a transfer coding in HTTP/1.0": Difference(
        [CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n"],
        Outcome([200], [b""]),
        Outcome([400], []),
        "RFC 9112, section 6.1: its framing cannot be trusted",
    ),
    "a large head": Difference(
        [GET + b"Host: x\r\nX: " + b"x" * HEAD_MAX_BYTES + b"\r\n\r\n"],
        Outcome([200], [b""]),
        Outcome([431], []),
        "memory",
    ),
    "an early response to a client that waits to send its body": Difference(
        [request(b"", "/early", b"Expect: 100-continue\r\n", length=len(OK)), OK + OK],
        Outcome([401, 200], [b"", b"body"]),
        Outcome([401], [b""]),
        "the body may follow or not, so what follows cannot be parsed; the connection ends with the response",
    ),
    "a large length": Difference(
        [request(b"", path="/early", length=ENCODED_BODY_MAX_BYTES + 1)],
        Outcome([401], [b""]),
        Outcome([413], []),
        "memory",
    ),
}


def outcome_of(kind: type[object], sent: list[bytes]) -> Outcome:
    async def test() -> Outcome:
        application = Application()
        protocol, connection = open_connection(kind, application)
        await feed(protocol, connection, sent)
        await run_until_idle()
        bodies = []
        for _method, _path, headers, body in application.requests:
            bodies.append(body + (b"+authorization" if b"authorization" in dict(headers) else b""))
        protocol.connection_lost(None)
        return Outcome(connection.statuses, bodies)

    return asyncio.run(test())


@pytest.mark.slow
@pytest.mark.parametrize("row", DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_our_protocol_differs_where_the_table_says(row: Difference) -> None:
    assert row.ours != row.uvicorn, "a row without a difference"
    assert outcome_of(Protocol, row.sent) == row.ours, row.reason
    assert outcome_of(HttpToolsProtocol, row.sent) == row.uvicorn, "uvicorn has changed"


ORDINARY = [
    OK,
    request(),
    request(b"", path="/other"),
    request(more=b"Connection: close\r\n", path="/other"),
    request(version=b"1.0", path="/other"),
    request(more=b"Expect: 100-continue\r\n", path="/other"),
    CHUNKED + b"4\r\nbody\r\n0\r\n\r\n",
    CHUNKED + b"2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    request(path="/early"),
    GET + b"Host: x\r\n\r\n",
    b"\r\n" + GET + b"Host: x\r\n\r\n",
    GET.replace(b"GET", b"HEAD") + b"Host: x\r\n\r\n",
    b"GET /other?x=y%20z#f HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=5), st.integers(1, 200))
def test_both_protocols_behave_alike_elsewhere(requests: list[bytes], size: int) -> None:
    sent = b"".join(requests)
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]

    def without_fast_path(outcome: Outcome) -> Outcome:
        return Outcome([200 if status == 201 else status for status in outcome.statuses], outcome.bodies)

    assert without_fast_path(outcome_of(Protocol, pieces)) == outcome_of(HttpToolsProtocol, pieces)
