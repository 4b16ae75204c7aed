"""Slow clients: an incomplete head, an incomplete body, nothing at all.

Invariants
- A connection on which no request was completed for KEEP_ALIVE_SECONDS, and none is being handled, is closed; an
  occasional byte does not prevent that.
- A connection that is in use is kept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.hostile import messages
from tests.hostile.inprocess import Echo, served
from tests.hostile.messages import head
from tests.hostile.wire import CLOSED, OPEN, Address, Connection
from tokensvc.web import protocol

SECONDS = 0.3
POST = b"POST /slow HTTP/1.1"
GOOD = messages.post("/slow", b"body")
QUICK = messages.post("/quick", b"body")
UNFINISHED = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": b"GET /slow HTTP/1.1\r\nHost: x\r\nX: y",
    "a head without its blank line": b"GET /slow HTTP/1.1\r\nHost: x\r\n",
    "blank lines": b"\r\n\r\n\r\n",
    "half a body": head(POST, b"Content-Length: 100") + b"half",
    "no body": head(POST, b"Content-Length: 100"),
    "half a body on the fast path": head(b"POST /quick HTTP/1.1", b"Content-Length: 100") + b"half",
    "half a chunk's size": head(POST, b"Transfer-Encoding: chunked") + b"f",
    "half a chunk": head(POST, b"Transfer-Encoding: chunked") + b"ff\r\nhalf",
    "no last chunk": head(POST, b"Transfer-Encoding: chunked") + b"4\r\nbody\r\n",
    "half a trailer": head(POST, b"Transfer-Encoding: chunked") + b"0\r\nX: y",
    "a body that is never sent": head(POST, b"Content-Length: 100", b"Expect: 100-continue"),
    "an upgrade's half body": head(POST, b"Content-Length: 100", b"Connection: Upgrade", b"Upgrade: x") + b"half",
    "the rest of a rejected body": head(b"POST /early HTTP/1.1", b"Content-Length: 100") + b"half",
}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """The service's server in this process, with a short keep-alive."""
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", SECONDS)
    with served(Echo(lambda: 1)) as running:
        yield running


@pytest.mark.parametrize("before", [b"", GOOD, QUICK], ids=["first", "behind another", "behind a quick one"])
def test_an_incomplete_request_ends_the_connection(address: Address, before: bytes) -> None:
    """All kinds in parallel, each on a connection of its own."""
    connections = {name: Connection(address) for name in UNFINISHED}
    found = {}
    try:
        for name, connection in connections.items():
            connection.send(before + UNFINISHED[name])
        for name, connection in connections.items():
            received = connection.read_all()
            responses = [200] * (bool(before) + (name == "the rest of a rejected body"))
            if received.statuses not in (responses, [*responses, 408], [*responses, 400]) or received.ending != CLOSED:
                found[name] = received
    finally:
        for connection in connections.values():
            connection.socket.close()
    assert not found


@pytest.mark.parametrize("unfinished", ["half a head", "half a body", "half a chunk", "half a trailer"])
def test_an_occasional_byte_does_not_keep_the_connection(address: Address, unfinished: str) -> None:
    with Connection(address) as connection:
        connection.send(UNFINISHED[unfinished])
        connection.socket.settimeout(SECONDS / 4)
        began = time.monotonic()
        while time.monotonic() < began + 20 * SECONDS:
            connection.send(b"y")
            with contextlib.suppress(TimeoutError):
                if not connection.socket.recv(65_536):
                    break
        else:
            pytest.fail("the connection was kept")


@pytest.mark.parametrize("request_", [GOOD, QUICK], ids=["in a task", "at once"])
def test_a_connection_in_use_is_kept(address: Address, request_: bytes) -> None:
    with Connection(address) as connection:
        for _ in range(10):
            connection.send(request_)
            assert connection.read_response().status == 200
            time.sleep(SECONDS / 3)


def test_an_idle_connection_is_closed_after_the_keep_alive(address: Address) -> None:
    with Connection(address) as connection:
        connection.send(GOOD)
        assert connection.read_response().status == 200
        assert connection.read_all(quiet_seconds=SECONDS / 3).ending == OPEN
        assert connection.read_all().ending == CLOSED
