"""Limits on size and time of requests, which httptools and uvicorn do not have, and the fast path over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.processes import wait_until
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web import protocol
from tokensvc.web.context import Respond
from tokensvc.web.request_head import ENCODED_BODY_MAX_BYTES, HEAD_MAX_BYTES
from tokensvc.web.server import Server, make_server

pytestmark = pytest.mark.slow

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"x" * 65_536
ENDLESS_BYTES = 16 * ENCODED_BODY_MAX_BYTES


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Responds without reading the body."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await PlainTextResponse("well")(scope, receive, send)


class QuickApplication:
    """Accepts requests to `/quick` on the fast path, and handles all others as `app` does; records the bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._accepted: list[Respond] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        self.bodies.append(body)
        if scope["path"] != "/quick":
            return False
        asyncio.get_running_loop().call_soon(self.flush)
        self._accepted.append(respond)
        return True

    def flush(self) -> None:
        accepted, self._accepted = self._accepted, []
        for respond in accepted:
            respond(Response(201, b"{}", (JSON,), "ok"), "id-1")


class Served:
    """A server that runs in a thread of its own."""

    def __init__(self, server: Server, port: int) -> None:
        self.port = port
        self._server = server

    def check_connections(self) -> None:
        """Have each connection checked for progress, as its timer does after KEEP_ALIVE_SECONDS."""
        for connection in [*self._server.server_state.connections]:
            assert isinstance(connection, protocol.Protocol)
            checked = threading.Event()
            connection.loop.call_soon_threadsafe(_check, connection, checked)
            assert checked.wait(30)


def _check(connection: protocol.Protocol, checked: threading.Event) -> None:
    assert connection._watchdog is not None
    connection._watchdog.cancel()
    connection._check_progress()
    checked.set()


@pytest.fixture
def server() -> Iterator[Served]:
    with served(app) as running:
        yield running


@pytest.fixture
def port(server: Served) -> int:
    return server.port


@pytest.fixture
def quick_app() -> QuickApplication:
    return QuickApplication()


@pytest.fixture
def quick_server(quick_app: QuickApplication) -> Iterator[Served]:
    with served(quick_app) as running:
        yield running


@pytest.fixture
def quick_port(quick_server: Served) -> int:
    return quick_server.port


@contextlib.contextmanager
def served(application: ASGIApp) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = make_server(application, lambda: None, delay_seconds=0)
        thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
        thread.start()
        wait_until(lambda: running.started, "the server starts")
        yield Served(running, listener.getsockname()[1])
        running.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        yield connection


def status_line(connection: socket.socket) -> bytes:
    """The status line of one response; b"" if the connection was closed instead."""
    return connection.recv(65_536)[:12]


def test_the_head_limit_applies_to_all_pieces_together(port: int) -> None:
    half = b"x" * (HEAD_MAX_BYTES * 2 // 3)
    with connected(port) as connection:
        connection.sendall(GET + b"\r\n")
        assert status_line(connection) == b"HTTP/1.1 200"
        connection.sendall(GET + b"X: " + half)
        time.sleep(0.05)
        connection.sendall(half + b"\r\n\r\n")
        assert b"HTTP/1.1 431" in connection.recv(65_536)


@pytest.mark.parametrize(
    "endless", [b"0\r\nX: ", b"1;x="], ids=["a trailer without an end", "a chunk's extension without an end"]
)
def test_a_body_that_no_route_reads_is_limited_too(port: int, endless: bytes) -> None:
    """A trailer is collected in memory, in quadratic time; without a limit, anyone could stop a worker."""
    with connected(port) as connection:
        connection.sendall(CHUNKED)
        assert status_line(connection) == b"HTTP/1.1 200"
        connection.sendall(endless)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < ENDLESS_BYTES:
                connection.sendall(PIECE)
                sent += len(PIECE)
        assert sent < ENDLESS_BYTES


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"GET / HT"],
        [GET + b"\r\n", GET],
        [POST + b"Content-Length: 5\r\n\r\n12"],
    ],
    ids=["nothing", "half a line", "half a head on a kept connection", "half a body"],
)
def test_an_idle_connection_is_closed(port: int, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", 1.0)
    with connected(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
            if b"\r\n\r\n" in piece:
                assert status_line(connection) == b"HTTP/1.1 200"
        assert connection.recv(1) == b""


def test_a_connection_in_use_survives_every_check(server: Served) -> None:
    with connected(server.port) as connection:
        for _ in range(10):
            connection.sendall(POST + b"Content-Length: 2\r\n\r\nok")
            assert status_line(connection) == b"HTTP/1.1 200"
            server.check_connections()
        server.check_connections()
        assert connection.recv(1) == b"", "one response to each request, and closed once idle"


QUICK = b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


def test_the_fast_path_response_has_every_header(quick_app: QuickApplication, quick_port: int) -> None:
    with connected(quick_port) as connection:
        for _ in range(2):
            connection.sendall(QUICK)
            response = connection.recv(65_536)
            assert response.startswith(b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ndate: ")
            assert response.endswith(b"content-length: 2\r\nx-request-id: id-1\r\n\r\n{}")
    assert quick_app.bodies == [b"body", b"body"]


def test_pipelined_requests_are_answered_in_order_on_either_path(quick_app: QuickApplication, quick_port: int) -> None:
    slow = QUICK.replace(b"/quick", b"/other")
    with connected(quick_port) as connection:
        connection.sendall(QUICK + slow + QUICK + slow + slow + QUICK)
        responses = b""
        while responses.count(b"HTTP/1.1") < 6 or not responses.endswith((b"{}", b"well")):
            responses += connection.recv(65_536)
    statuses = [part[1:4] for part in responses.split(b"HTTP/1.1")[1:]]
    assert statuses == [b"201", b"200", b"200", b"200", b"200", b"200"], "after one that waits, all wait in order"


def test_a_body_in_pieces_is_handled_by_a_task(quick_app: QuickApplication, quick_port: int) -> None:
    with connected(quick_port) as connection:
        connection.sendall(QUICK[:-2])
        assert status_line(connection) == b"HTTP/1.1 200"
    assert not quick_app.bodies


@pytest.mark.parametrize("coding", [b"gzip", b"identity"])
def test_a_body_with_a_content_coding_never_takes_the_fast_path(
    quick_app: QuickApplication, quick_port: int, coding: bytes
) -> None:
    """The task path checks the coding, so the fast path does not have to."""
    with connected(quick_port) as connection:
        for _ in range(2):
            connection.sendall(QUICK.replace(b"Host: x", b"Host: x\r\nContent-Encoding: " + coding))
            assert status_line(connection) == b"HTTP/1.1 200"
    assert not quick_app.bodies


def test_expect_100_continue_is_honoured(quick_app: QuickApplication, quick_port: int) -> None:
    with connected(quick_port) as connection:
        connection.sendall(QUICK.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
        assert status_line(connection) in {b"HTTP/1.1 100", b"HTTP/1.1 200"}
    assert not quick_app.bodies


@pytest.mark.parametrize(
    "last",
    [QUICK.replace(b"Host: x", b"Connection: close"), QUICK.replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["1.1", "1.0"],
)
def test_connection_close_ends_the_connection(quick_port: int, last: bytes) -> None:
    with connected(quick_port) as connection:
        connection.sendall(last)
        assert b"\r\nconnection: close\r\n" in connection.recv(65_536)
        assert connection.recv(1) == b""


def test_a_too_large_head_never_takes_the_fast_path(quick_app: QuickApplication, quick_port: int) -> None:
    with connected(quick_port) as connection:
        connection.sendall(QUICK.replace(b"Host: x", b"Host: x\r\nX: " + b"x" * HEAD_MAX_BYTES))
        assert status_line(connection) == b"HTTP/1.1 431"
    assert not quick_app.bodies


def test_a_connection_on_the_fast_path_survives_every_check(quick_server: Served) -> None:
    with connected(quick_server.port) as connection:
        for _ in range(10):
            connection.sendall(QUICK)
            assert status_line(connection) == b"HTTP/1.1 201"
            quick_server.check_connections()
        quick_server.check_connections()
        assert connection.recv(1) == b"", "closed once idle"
