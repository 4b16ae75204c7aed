"""The client of `benchmarks/connections.py`: every connection counts, from before it connects to its response."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.connections import Clients, percentile

pytestmark = pytest.mark.slow

ACCEPT_DELAY_SECONDS = 0.1
TOKEN, LIVEZ = b"POST /v1/tokens", b"GET /livez"
CREATED, UNAVAILABLE = b"HTTP/1.1 201 Created\r\n\r\n", b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


class SlowAcceptServer:
    """A server that accepts one connection per ACCEPT_DELAY_SECONDS and responds to each request immediately."""

    def __init__(self, listener: socket.socket) -> None:
        self.response = CREATED
        self.requests: list[bytes] = []
        self._listener = listener

    def run(self) -> None:
        while True:
            time.sleep(ACCEPT_DELAY_SECONDS)
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionResetError):  # a client may leave before it has read
            while request := connection.recv(65_536):
                self.requests.append(request)
                connection.sendall(self.response)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def server(listener: socket.socket) -> Iterator[SlowAcceptServer]:
    server = SlowAcceptServer(listener)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_a_latency_counts_from_before_the_connection_was_accepted(
    listener: socket.socket, server: SlowAcceptServer
) -> None:
    with Clients(listener.getsockname()) as clients:
        clients.open(2, TOKEN)
        assert clients.open_ms >= ACCEPT_DELAY_SECONDS * 1000
        assert max(clients.keep_alive) >= ACCEPT_DELAY_SECONDS * 1000
        clients.run(0, churn=[LIVEZ, LIVEZ])
        assert max(clients.new) >= ACCEPT_DELAY_SECONDS * 1000


def test_all_new_connections_are_waited_for_while_keep_alive_ones_continue(
    listener: socket.socket, server: SlowAcceptServer
) -> None:
    with Clients(listener.getsockname()) as clients:
        clients.open(1, TOKEN)
        before = len(clients.keep_alive)
        clients.run(0.01, churn=[LIVEZ, LIVEZ, LIVEZ])
        assert len(clients.new) == 3
        assert len(clients.keep_alive) > before
        assert clients.responses == len(clients.keep_alive) + len(clients.new)
        assert server.requests.count(LIVEZ) == 3


def test_an_unsuccessful_response_ends_the_benchmark(listener: socket.socket, server: SlowAcceptServer) -> None:
    server.response = UNAVAILABLE
    with Clients(listener.getsockname()) as clients, pytest.raises(SystemExit, match="503"):
        clients.open(1, TOKEN)


def test_a_percentile_is_one_of_the_values() -> None:
    values = list(range(1, 1001))
    assert [percentile(values[::-1], percent) for percent in (50, 99, 99.9)] == [501, 991, 1000]
    assert percentile([7.0], 99) == 7.0
