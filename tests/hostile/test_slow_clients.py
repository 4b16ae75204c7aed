"""Clients that take their time: half a head, half a body, nothing at all.

Invariants
- A connection at which no request was completed for KEEP_ALIVE_SECONDS, and none is being answered, is closed; a byte
  now and then changes nothing.
- A connection on which requests are answered is kept.
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
    "half a quick body": head(b"POST /quick HTTP/1.1", b"Content-Length: 100") + b"half",
    "half a chunk's size": head(POST, b"Transfer-Encoding: chunked") + b"f",
    "half a chunk": head(POST, b"Transfer-Encoding: chunked") + b"ff\r\nhalf",
    "no last chunk": head(POST, b"Transfer-Encoding: chunked") + b"4\r\nbody\r\n",
    "half a trailer": head(POST, b"Transfer-Encoding: chunked") + b"0\r\nX: y",
    "a body that is never sent": head(POST, b"Content-Length: 100", b"Expect: 100-continue"),
    "an upgrade's half body": head(POST, b"Content-Length: 100", b"Connection: Upgrade", b"Upgrade: x") + b"half",
    "the rest of a body that was refused": head(b"POST /early HTTP/1.1", b"Content-Length: 100") + b"half",
}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """The service's server in this process, whose patience is short."""
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", SECONDS)
    with served(Echo(lambda: 1)) as running:
        yield running


@pytest.mark.parametrize("before", [b"", GOOD, QUICK], ids=["first", "behind another", "behind a quick one"])
def test_an_unfinished_request_ends_the_connection(address: Address, before: bytes) -> None:
    """All kinds at once, each on a connection of its own."""
    connections = {name: Connection(address) for name in UNFINISHED}
    found = {}
    try:
        for name, connection in connections.items():
            connection.send(before + UNFINISHED[name])
        for name, connection in connections.items():
            received = connection.read_all()
            answers = [200] * (bool(before) + (name == "the rest of a body that was refused"))
            if received.statuses not in (answers, [*answers, 408], [*answers, 400]) or received.ending != CLOSED:
                found[name] = received
    finally:
        for connection in connections.values():
            connection.socket.close()
    assert not found


@pytest.mark.parametrize("unfinished", ["half a head", "half a body", "half a chunk", "half a trailer"])
def test_a_byte_now_and_then_does_not_keep_it(address: Address, unfinished: str) -> None:
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


def test_one_that_is_idle_after_an_answer_is_kept_for_a_while_and_then_closed(address: Address) -> None:
    with Connection(address) as connection:
        connection.send(GOOD)
        assert connection.read_response().status == 200
        assert connection.read_all(quiet_seconds=SECONDS / 3).ending == OPEN
        assert connection.read_all().ending == CLOSED
