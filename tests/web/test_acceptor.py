"""New connections are accepted as fast as busy ones are served, and shared fairly with the other workers."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from tests.support.processes import wait_until
from tokensvc.web import acceptor as acceptor_module
from tokensvc.web.acceptor import ACCEPTS_PER_ITERATION, Acceptor
from tokensvc.web.open_connections import ConnectionLimit
from tokensvc.web.server import Server, make_server

pytestmark = pytest.mark.slow

BACKLOG = 2048
SETUP_ITERATIONS = 3
"""Accepted in the first iteration, handed to its protocol in the second, known to the server in the third."""
RESPONSE_ITERATIONS = 10
"""In addition: read, handled by a task of several steps, written."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WITHIN_SECONDS = 10


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Responds with its process id and the client."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await PlainTextResponse(f"{os.getpid()} {scope['client']}")(scope, receive, send)


class Connection(asyncio.Protocol):
    """Records its transport."""

    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        self.transport = transport


class Connections(list[Connection]):
    """The protocols of one acceptor, in order of creation."""

    def create(self) -> Connection:
        self.append(Connection())
        return self[-1]

    def close(self) -> None:
        for connection in self:
            if connection.transport is not None:
                connection.transport.abort()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        yield listener


def run_on_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on an event loop like a worker's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, WITHIN_SECONDS * 3))


@contextlib.contextmanager
def waiting(listener: socket.socket, count: int) -> Iterator[list[socket.socket]]:
    """Clients whose connections wait in the kernel's queue."""
    with contextlib.ExitStack() as stack:
        address = listener.getsockname()[:2]
        yield [stack.enter_context(socket.create_connection(address, timeout=WITHIN_SECONDS)) for _ in range(count)]


@contextlib.asynccontextmanager
async def served(listener: socket.socket) -> Any:
    """A worker's server on this event loop."""
    server = make_server(app, lambda: None, delay_seconds=0)
    running = asyncio.create_task(server.serve([listener]))
    assert await iterate_until(1000, lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await running


async def iterate(count: int) -> None:
    """Run this many iterations of the event loop; each polls the sockets once."""
    for _ in range(count):
        await asyncio.sleep(0)


async def iterate_until(max_iterations: int, condition: Callable[[], bool]) -> bool:
    """Whether the condition becomes true within this many iterations."""
    for _ in range(max_iterations):
        if condition():
            return True
        await asyncio.sleep(0)
    return condition()


def test_waiting_connections_are_accepted_within_a_few_iterations(listener: socket.socket) -> None:
    async def main() -> None:
        async with served(listener) as server:
            with waiting(listener, ACCEPTS_PER_ITERATION):
                await iterate(SETUP_ITERATIONS)
                assert len(server.server_state.connections) == ACCEPTS_PER_ITERATION

    run_on_loop(main())


def test_many_new_connections_are_served_while_others_keep_the_loop_busy(listener: socket.socket) -> None:
    async def main() -> None:
        async with served(listener) as server:
            with waiting(listener, 16) as persistent:
                assert await iterate_until(100, lambda: len(server.server_state.connections) == len(persistent))
                busy = _BusyClients(persistent)
                with waiting(listener, ACCEPTS_PER_ITERATION) as new:
                    for client in new:
                        client.setblocking(False)
                        client.send(GET)
                    for _ in range(SETUP_ITERATIONS + RESPONSE_ITERATIONS):
                        await asyncio.sleep(0)
                        busy.proceed()
                    assert all(client.recv(65_536).startswith(b"HTTP/1.1 200") for client in new)
                assert busy.answered >= len(persistent)

    run_on_loop(main())


class _BusyClients:
    """Clients that send the next request as soon as they have a response."""

    def __init__(self, clients: list[socket.socket]) -> None:
        self.answered = 0
        self._clients = clients
        for client in clients:
            client.setblocking(False)
            client.send(GET)

    def proceed(self) -> None:
        for client in self._clients:
            with contextlib.suppress(BlockingIOError):
                assert client.recv(65_536).startswith(b"HTTP/1.1 200")
                self.answered += 1
                client.send(GET)


def test_one_iteration_leaves_connections_beyond_the_bound_to_other_workers(listener: socket.socket) -> None:
    """Two acceptors on one event loop stand for two equally fast workers."""

    async def main() -> None:
        first, second = Connections(), Connections()
        with waiting(listener, 4 * ACCEPTS_PER_ITERATION), listener.dup() as inherited:
            acceptors = [
                Acceptor(listener, first.create, backlog=BACKLOG),
                Acceptor(inherited, second.create, backlog=BACKLOG),
            ]
            await iterate(2)
            assert len(first) <= ACCEPTS_PER_ITERATION
            assert await iterate_until(10, lambda: len(first) + len(second) == 4 * ACCEPTS_PER_ITERATION)
            assert len(first) == len(second)
            for acceptor, connections in zip(acceptors, (first, second), strict=True):
                acceptor.close()
                await acceptor.wait_closed()
                connections.close()

    run_on_loop(main())


@pytest.mark.slow
def test_workers_share_an_inherited_socket_and_a_blocked_one_holds_no_connection(
    listener: socket.socket,
) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_run_worker, args=(listener,), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        pids = {worker.pid for worker in workers}
        responding: set[int] = set()
        wait_until(lambda: responding.update(_responding_processes(listener)) or responding == pids, "both serve")  # type: ignore[func-returns-value]
        for worker, other in zip(workers, workers[::-1], strict=True):
            os.kill(_pid(worker), signal.SIGSTOP)
            with waiting(listener, 2 * ACCEPTS_PER_ITERATION) as clients:
                assert {_responding_process(client) for client in clients} == {_pid(other)}
            os.kill(_pid(worker), signal.SIGCONT)
    finally:
        for worker in workers:
            os.kill(_pid(worker), signal.SIGCONT)
            worker.terminate()
            worker.join(WITHIN_SECONDS)
    assert [worker.exitcode for worker in workers] == [0, 0]


def _run_worker(listener: socket.socket) -> None:
    make_server(app, lambda: None, delay_seconds=0).run([listener])


def _pid(worker: Any) -> int:
    pid: int = worker.pid
    return pid


def _responding_processes(listener: socket.socket) -> set[int]:
    with waiting(listener, 8) as clients:
        return {_responding_process(client) for client in clients}


def _responding_process(client: socket.socket) -> int:
    """The id of the process that responds."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    with client.makefile("rb") as response:
        return int(response.read().rpartition(b"\r\n\r\n")[2].split()[0])


@contextlib.contextmanager
def exhausted_descriptors() -> Iterator[None]:
    """Exhaust the file descriptors: opening a file or accepting a connection fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - includes its own descriptor
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors), hard))
    with contextlib.suppress(OSError):
        while True:
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in descriptors:
            os.close(descriptor)


def test_without_file_descriptors_it_pauses_and_logs_once(listener: socket.socket) -> None:
    async def main() -> None:
        connections = Connections()
        with waiting(listener, 3):
            with capture_logs() as logs, exhausted_descriptors():
                acceptor = Acceptor(listener, connections.create, backlog=BACKLOG, pause_seconds=3600)
                await iterate(50)
            assert [(line["event"], line["log_level"]) for line in logs] == [("accepting connections failed", "error")]
            assert logs[0]["error"] == "Too many open files"
            assert not connections
            acceptor.close()

    run_on_loop(main())


def test_after_the_pause_it_accepts_the_waiting_connections(listener: socket.socket) -> None:
    async def main() -> None:
        connections = Connections()
        with waiting(listener, 3):
            with capture_logs() as logs, exhausted_descriptors():
                acceptor = Acceptor(listener, connections.create, backlog=BACKLOG, pause_seconds=0)
                assert await iterate_until(10, lambda: bool(logs))
            assert await iterate_until(50, lambda: len(connections) == 3)
            acceptor.close()
            await acceptor.wait_closed()
            connections.close()

    run_on_loop(main())


class Limit(ConnectionLimit):
    """A limit on connections of which a test says how many there are, and how many of them are idle."""

    def __init__(self, maximum: int, connections: Connections) -> None:
        self.maximum = maximum
        self.idle = 0
        self._connections = connections
        self.closed = 0

    def is_reached(self, connecting: int) -> bool:
        return len(self._connections) - self.closed + connecting >= self.maximum

    def has_idle(self) -> bool:
        return self.idle > 0

    def close_idle(self) -> None:
        self.idle -= 1
        self.closed += 1


def test_with_as_many_connections_as_allowed_it_accepts_none_until_one_closes(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor_module, "FULL_PAUSE_SECONDS", 0)

    async def main() -> None:
        connections = Connections()
        limit = Limit(2, connections)
        with waiting(listener, 5):
            acceptor = Acceptor(listener, connections.create, backlog=BACKLOG, limit=limit)
            await iterate(50)
            assert len(connections) == 2
            limit.closed = 1
            assert await iterate_until(50, lambda: len(connections) == 3)
            await iterate(50)
            assert len(connections) == 3
            acceptor.close()
            await acceptor.wait_closed()
            connections.close()

    run_on_loop(main())


def test_with_as_many_as_allowed_it_closes_an_idle_one_for_each_that_it_accepts(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor_module, "FULL_PAUSE_SECONDS", 0)

    async def main() -> None:
        connections = Connections()
        limit = Limit(2, connections)
        limit.idle = 100
        with waiting(listener, 5):
            acceptor = Acceptor(listener, connections.create, backlog=BACKLOG, limit=limit)
            assert await iterate_until(50, lambda: len(connections) == 5)
            await iterate(50)
            assert limit.closed == 3, "none is closed but for one that was accepted"
            acceptor.close()
            await acceptor.wait_closed()
            connections.close()

    run_on_loop(main())


def test_new_connections_are_left_to_other_workers_before_an_idle_one_is_closed(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor_module, "FULL_PAUSE_SECONDS", 3600)

    async def main() -> None:
        connections = Connections()
        limit = Limit(1, connections)
        limit.idle = 100
        with waiting(listener, 1):
            acceptor = Acceptor(listener, connections.create, backlog=BACKLOG, limit=limit)
            assert await iterate_until(10, lambda: len(connections) == 1)
            with waiting(listener, 1), listener.dup() as other_worker:
                await iterate(10)
                other_worker.accept()[0].close()
                assert acceptor._pause is not None
                acceptor._pause.cancel()
                acceptor._resume()  # as at the end of the pause
                await iterate(10)
                assert (len(connections), limit.closed) == (1, 0)
            acceptor.close()
            await acceptor.wait_closed()
            connections.close()

    run_on_loop(main())


def test_an_acceptor_closed_during_its_pause_stays_closed(listener: socket.socket) -> None:
    async def main() -> None:
        connections = Connections()
        with waiting(listener, 1):
            with capture_logs() as logs, exhausted_descriptors():
                acceptor = Acceptor(listener, connections.create, backlog=BACKLOG, pause_seconds=0)
                assert await iterate_until(10, lambda: bool(logs))
                acceptor.close()
            await iterate(50)
            assert not connections

    run_on_loop(main())


def test_shutdown_stops_accepting_and_closes_connections_just_accepted(listener: socket.socket) -> None:
    """An accepted connection without a protocol would otherwise delay shutdown as long as a request may take."""

    async def main() -> None:
        server: Server
        async with served(listener) as server:
            with waiting(listener, 2) as clients, listener.dup() as other_worker:
                await iterate(1)
                started = asyncio.get_running_loop().time()
                await server.shutdown([listener])
                assert asyncio.get_running_loop().time() - started < WITHIN_SECONDS
                assert [client.recv(1) for client in clients] == [b"", b""]
                with waiting(other_worker, 1) as later:
                    await iterate(10)
                    assert not server.server_state.connections
                    connection, address = other_worker.accept()
                    connection.close()
                    assert address == later[0].getsockname()

    run_on_loop(main())


def test_a_failed_connection_setup_closes_only_that_connection(listener: socket.socket) -> None:
    async def main() -> None:
        connections = Connections()

        def create() -> Connection:
            if not connections:
                connections.create()
                raise RuntimeError("no protocol")
            return connections.create()

        with waiting(listener, 2) as clients, capture_logs() as logs:
            acceptor = Acceptor(listener, create, backlog=BACKLOG)
            assert await iterate_until(10, lambda: len(connections) == 2 and connections[1].transport is not None)
            assert clients[0].recv(1) == b""
            assert [line["event"] for line in logs] == ["connection setup failed"]
            acceptor.close()
            await acceptor.wait_closed()
            connections.close()

    run_on_loop(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_has_the_socket_options_that_uvloop_sets(host: str) -> None:
    """Small responses are not delayed (Nagle), and the client's address is correct."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"no address {host} here: {error.strerror}")

    async def main() -> None:
        async with served(listener) as server:
            with waiting(listener, 1) as clients:
                client = clients[0]
                client.setblocking(False)
                client.send(GET)
                assert await iterate_until(100, lambda: bool(server.server_state.total_requests))
                await iterate(2)  # written
                (connection,) = server.server_state.connections
                accepted = connection.transport.get_extra_info("socket")
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                response = client.recv(65_536).rpartition(b"\r\n\r\n")[2].decode()
                assert response.partition(" ")[2] == repr(client.getsockname()[:2])

    with listener:
        run_on_loop(main())
