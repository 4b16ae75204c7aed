"""Clients that send an incomplete head, an incomplete body or nothing.

Invariants
- A connection is closed when no request was completed on it for KEEP_ALIVE_SECONDS and none is being handled; an
  occasional byte does not prevent that.
- A connection that is in use stays open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.hostile import messages
from tests.hostile.inprocess import Echo, InProcessConnection, served
from tests.hostile.messages import head
from tests.hostile.wire import CLOSED, Address, Connection
from tokensvc.web import protocol

KEEP_ALIVE_SECONDS = 0.3
POST = b"POST /slow HTTP/1.1"
COMPLETE = messages.post("/slow", b"body")
COMPLETE_QUICK = messages.post("/quick", b"body")
INCOMPLETE = {
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
    "half a body of an upgrade": head(POST, b"Content-Length: 100", b"Connection: Upgrade", b"Upgrade: x") + b"half",
    "the rest of a rejected body": head(b"POST /early HTTP/1.1", b"Content-Length: 100") + b"half",
}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """The service's server in this process, with a short keep-alive time."""
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", KEEP_ALIVE_SECONDS)
    with served(Echo(lambda: 1)) as served_address:
        yield served_address


@pytest.mark.parametrize(
    "before", [b"", COMPLETE, COMPLETE_QUICK], ids=["first", "after another", "after one on the fast path"]
)
def test_an_incomplete_request_ends_the_connection(address: Address, before: bytes) -> None:
    """All kinds in parallel, each on a separate connection."""
    connections: dict[str, Connection] = {}
    unexpected = {}
    try:
        for name, incomplete in INCOMPLETE.items():
            connections[name] = Connection(address)
            connections[name].send(before + incomplete)
        for name, connection in connections.items():
            received = connection.read_all()
            responses = [200] * (bool(before) + (name == "the rest of a rejected body"))
            if received.statuses not in (responses, [*responses, 408], [*responses, 400]) or received.ending != CLOSED:
                unexpected[name] = received
    finally:
        for connection in connections.values():
            connection.socket.close()
    assert not unexpected


@pytest.mark.parametrize("incomplete", ["half a head", "half a body", "half a chunk", "half a trailer"])
def test_an_occasional_byte_does_not_keep_the_connection_open(address: Address, incomplete: str) -> None:
    with Connection(address) as connection:
        connection.send(INCOMPLETE[incomplete])
        connection.socket.settimeout(KEEP_ALIVE_SECONDS / 4)
        started_at = time.monotonic()
        while time.monotonic() < started_at + 20 * KEEP_ALIVE_SECONDS:
            connection.send(b"y")
            try:
                if not connection.socket.recv(65_536):
                    break
            except TimeoutError:
                continue
            except ConnectionResetError:  # it closed before it had read the last byte
                break
        else:
            pytest.fail("the connection stayed open")


@pytest.mark.parametrize("request_", [COMPLETE, COMPLETE_QUICK], ids=["in a task", "on the fast path"])
def test_a_connection_stays_open_while_it_is_in_use_and_is_closed_when_idle(request_: bytes) -> None:
    async def run() -> None:
        connection = InProcessConnection(Echo(lambda: 1))
        for _ in range(10):
            await connection.feed(request_)
            await connection.drain()
            connection.protocol._check_progress()  # as every KEEP_ALIVE_SECONDS
            assert not connection.transport.closed
        connection.protocol._check_progress()
        assert connection.transport.closed
        assert [response.status for response in connection.responses()[0]] == [200] * 10
        await connection.close()

    asyncio.run(run())


def test_an_idle_connection_is_closed_after_the_keep_alive(address: Address) -> None:
    with Connection(address) as connection:
        connection.send(COMPLETE)
        assert connection.read_response().status == 200
        assert connection.read_all().ending == CLOSED
