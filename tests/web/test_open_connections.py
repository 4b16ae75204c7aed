"""At the limit on connections, the longest idle one is closed for another; one with anything in flight never is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from tests.support.clocks import ManualClock
from tests.support.connections import Application, Connection, connect, feed, open_connection, request, run_until_idle
from tokensvc.web.open_connections import (
    HEAD_SECONDS,
    LOG_INTERVAL_SECONDS,
    MAX_EXAMINED,
    ConnectionLimit,
    ConnectionState,
)
from tokensvc.web.protocol import Protocol
from tokensvc.web.server import make_server


class Client:
    """A connection that is idle or not, as a test says."""

    def __init__(self, state: ConnectionState, *, idle: bool = True) -> None:
        self.idle = idle
        self.examined = 0
        self.closed = False
        state.by_use[self] = None

    def is_idle(self, _head_seconds: float) -> bool:
        self.examined += 1
        return self.idle

    def close_idle(self) -> None:
        self.closed = True


def test_the_longest_idle_is_closed_first() -> None:
    state = ConnectionState()
    clients = [Client(state) for _ in range(4)]
    limit = ConnectionLimit(state, 4)
    assert limit.is_reached(0)
    assert not ConnectionLimit(state, 5).is_reached(0)
    assert ConnectionLimit(state, 5).is_reached(1), "those that are being accepted count"
    state.used(clients[0])
    clients[1].idle = False
    limit.close_idle()
    limit.close_idle()
    assert [client.closed for client in clients] == [False, False, True, True]
    assert not limit.is_reached(1)
    assert limit.is_reached(2)
    state.used(clients[2])
    assert len(state.by_use) == 2, "one that was closed does not count again"


def test_an_idle_one_behind_many_busy_ones_is_found_in_a_few_bounded_searches() -> None:
    state = ConnectionState()
    busy = [Client(state, idle=False) for _ in range(1000)]
    idle = Client(state)
    limit = ConnectionLimit(state, 1001)
    searches = 0
    while not limit.has_idle():
        searches += 1
        assert sum(client.examined for client in busy) <= searches * MAX_EXAMINED
    assert searches <= 1000 // MAX_EXAMINED + 1
    limit.close_idle()
    assert idle.closed


def test_one_line_is_logged_immediately_and_then_one_a_minute_with_the_count() -> None:
    state, clock = ConnectionState(), ManualClock()
    clients = [Client(state) for _ in range(10)]
    limit = ConnectionLimit(state, 10, clock.monotonic)
    with capture_logs() as lines:
        for _ in clients[:-1]:
            limit.close_idle()
        clock.advance(LOG_INTERVAL_SECONDS)
        limit.close_idle()
    assert [(line["event"], line["closed"], line["max_connections"]) for line in lines] == [
        ("idle connections closed", 1, 10),
        ("idle connections closed", 9, 10),
    ]


def in_loop(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def close_longest_idle(protocol: Protocol) -> bool:
    """Whether this only connection of its worker was closed for another."""
    limit = ConnectionLimit(protocol._state, 1)
    found = limit.has_idle()
    limit.close_idle()
    return found


def test_a_connection_is_idle_before_and_between_requests() -> None:
    async def test() -> None:
        for pieces in ([], [request()], [request(path="/any")], [request(), request()], [b"\r\n"]):
            protocol, connection, _ = connect()
            await feed(protocol, connection, pieces)
            assert close_longest_idle(protocol), pieces
            assert connection.closed
            await run_until_idle()
            assert not protocol._state.by_use

    in_loop(test())


HELD = request(path="/held")


@pytest.mark.parametrize(
    "sent",
    [
        HELD,
        HELD + request(),
        HELD + b"POST",
        request(path="/any", body=b"", length=4),
        request(path="/quick", body=b"b", length=4),
    ],
    ids=["handled", "with another", "with a part of another", "body incomplete", "body incomplete, fast path"],
)
def test_a_connection_with_a_request_in_flight_is_not_closed(sent: bytes) -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [sent])
        protocol._head_since -= 10 * HEAD_SECONDS
        assert not close_longest_idle(protocol)
        assert not connection.closed
        application.release.set()

    in_loop(test())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_whose_request_only_the_kernel_has_is_not_closed(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Even if it has just been accepted: the event loop may come to the acceptor before it comes to the request."""

    async def test() -> None:
        ours, clients = socket.socketpair()
        clients.setblocking(False)
        config = make_server(Application(), lambda: None, delay_seconds=0).config
        loop = asyncio.get_running_loop()
        state = ConnectionState()
        _, protocol = await loop.connect_accepted_socket(lambda: Protocol(config, state, {}, loop), ours)
        for _ in range(2):
            assert protocol.is_idle(HEAD_SECONDS)
            clients.sendall(request())
            assert not close_longest_idle(protocol)
            assert await loop.sock_recv(clients, 65_536)
        assert close_longest_idle(protocol)
        assert await loop.sock_recv(clients, 1) == b""
        clients.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(test())


def test_a_connection_whose_response_is_not_read_yet_is_not_closed() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [request()])
        connection.unsent_bytes = 1
        assert not close_longest_idle(protocol)
        connection.unsent_bytes = 0
        assert close_longest_idle(protocol)

    in_loop(test())


def test_a_request_of_this_iteration_is_answered_and_its_connection_not_closed() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [request(), request()])
        protocol.data_received(request())
        assert not close_longest_idle(protocol)
        await run_until_idle()
        assert connection.statuses == [201] * 3

    in_loop(test())


def test_a_head_that_does_not_end_counts_as_idle_after_a_while() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [request(), b"POST /quick HTTP/1.1\r\nHost:"])
        assert not close_longest_idle(protocol)
        protocol._head_since -= HEAD_SECONDS + 1
        await feed(protocol, connection, [b" x\r\nX: y\r\n"])
        assert close_longest_idle(protocol), "more of the same head is not a new request"
        assert connection.aborted

    in_loop(test())


def test_the_order_is_that_of_complete_requests_and_responses() -> None:
    async def test() -> None:
        application = Application()
        state = ConnectionState()
        opened: list[tuple[Protocol, Connection]] = []
        for _ in range(5):
            protocol, connection = open_connection(Protocol, application)
            protocol._state.by_use.clear()
            protocol._state = state
            state.by_use[protocol] = None
            opened.append((protocol, connection))
        names: dict[Any, int] = {protocol: number for number, (protocol, _) in enumerate(opened)}
        await feed(*opened[3], [HELD])
        await feed(*opened[0], [request()])
        await feed(*opened[2], [request(path="/any")])
        await feed(*opened[0], [request()])
        assert [names[protocol] for protocol in state.by_use] == [1, 4, 3, 2, 0]
        application.release.set()
        await run_until_idle()
        assert [names[protocol] for protocol in state.by_use] == [1, 4, 2, 0, 3]

    in_loop(test())
