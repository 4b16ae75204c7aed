"""New connections are accepted as fast as busy ones are served, and never faster than the other workers can share."""

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
from tokensvc.web.acceptor import ACCEPTS_PER_ITERATION, Acceptor
from tokensvc.web.server import Server, make_server

BACKLOG = 2048
SETS_UP_WITHIN_TURNS = 3
"""Accepted in the first turn, handed to its protocol in the second, known to the server in the third."""
ANSWERS_WITHIN_TURNS = 10
"""Beside that: read, answered by a task of several steps, written."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WITHIN_SECONDS = 10


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the process and with the client that it saw."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await PlainTextResponse(f"{os.getpid()} {scope['client']}")(scope, receive, send)


class Connection(asyncio.Protocol):
    """Knows whether it was made."""

    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        self.transport = transport


class Connections(list[Connection]):
    """The protocols of one acceptor, in the order in which they were made."""

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


def on_a_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run it on a loop like a worker's."""
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
    """A worker's server on this loop."""
    server = make_server(app, lambda: None, delay_seconds=0)
    running = asyncio.create_task(server.serve([listener]))
    assert await until_turn(1000, lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await running


async def turns(count: int) -> None:
    """Let the loop make so many turns. In each it sees once which sockets are ready."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_turn(most: int, is_true: Callable[[], bool]) -> bool:
    """Whether it becomes true within so many turns."""
    for _ in range(most):
        if is_true():
            return True
        await asyncio.sleep(0)
    return is_true()


def test_waiting_connections_are_accepted_within_a_few_iterations(listener: socket.socket) -> None:
    async def main() -> None:
        async with served(listener) as server:
            with waiting(listener, ACCEPTS_PER_ITERATION):
                await turns(SETS_UP_WITHIN_TURNS)
                assert len(server.server_state.connections) == ACCEPTS_PER_ITERATION

    on_a_loop(main())


def test_many_new_connections_are_served_while_others_keep_the_loop_busy(listener: socket.socket) -> None:
    async def main() -> None:
        async with served(listener) as server:
            with waiting(listener, 16) as kept:
                assert await until_turn(100, lambda: len(server.server_state.connections) == len(kept))
                busy = _Busy(kept)
                with waiting(listener, ACCEPTS_PER_ITERATION) as crowd:
                    for client in crowd:
                        client.setblocking(False)
                        client.send(GET)
                    for _ in range(SETS_UP_WITHIN_TURNS + ANSWERS_WITHIN_TURNS):
                        await asyncio.sleep(0)
                        busy.go_on()
                    assert all(client.recv(65_536).startswith(b"HTTP/1.1 200") for client in crowd)
                assert busy.answered >= len(kept)

    on_a_loop(main())


class _Busy:
    """Clients that send the next request as soon as they have an answer."""

    def __init__(self, clients: list[socket.socket]) -> None:
        self.answered = 0
        self._clients = clients
        for client in clients:
            client.setblocking(False)
            client.send(GET)

    def go_on(self) -> None:
        for client in self._clients:
            with contextlib.suppress(BlockingIOError):
                assert client.recv(65_536).startswith(b"HTTP/1.1 200")
                self.answered += 1
                client.send(GET)


def test_one_iteration_leaves_connections_beyond_the_bound_to_other_workers(listener: socket.socket) -> None:
    """Two acceptors of one loop stand for two workers that are equally fast: each has had as many turns."""

    async def main() -> None:
        one, other = Connections(), Connections()
        with waiting(listener, 4 * ACCEPTS_PER_ITERATION), listener.dup() as inherited:
            acceptors = [
                Acceptor(listener, one.create, backlog=BACKLOG),
                Acceptor(inherited, other.create, backlog=BACKLOG),
            ]
            await turns(2)
            assert len(one) <= ACCEPTS_PER_ITERATION
            assert await until_turn(10, lambda: len(one) + len(other) == 4 * ACCEPTS_PER_ITERATION)
            assert len(one) == len(other)
            for acceptor, connections in zip(acceptors, (one, other), strict=True):
                acceptor.close()
                await acceptor.wait_closed()
                connections.close()

    on_a_loop(main())


@pytest.mark.slow
def test_workers_share_an_inherited_socket_and_a_blocked_one_holds_no_connection(
    listener: socket.socket,
) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_work, args=(listener,), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        pids = {worker.pid for worker in workers}
        seen: set[int] = set()
        wait_until(lambda: seen.update(_who_answers(listener)) or seen == pids, "both serve")  # type: ignore[func-returns-value]
        for worker, other in zip(workers, workers[::-1], strict=True):
            os.kill(_pid(worker), signal.SIGSTOP)
            with waiting(listener, 2 * ACCEPTS_PER_ITERATION) as clients:
                assert {_asked(client) for client in clients} == {_pid(other)}
            os.kill(_pid(worker), signal.SIGCONT)
    finally:
        for worker in workers:
            os.kill(_pid(worker), signal.SIGCONT)
            worker.terminate()
            worker.join(WITHIN_SECONDS)
    assert [worker.exitcode for worker in workers] == [0, 0]


def _work(listener: socket.socket) -> None:
    make_server(app, lambda: None, delay_seconds=0).run([listener])


def _pid(worker: Any) -> int:
    pid: int = worker.pid
    return pid


def _who_answers(listener: socket.socket) -> set[int]:
    with waiting(listener, 8) as clients:
        return {_asked(client) for client in clients}


def _asked(client: socket.socket) -> int:
    """The process that answers."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    with client.makefile("rb") as answer:
        return int(answer.read().rpartition(b"\r\n\r\n")[2].split()[0])


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """As on a machine whose limit is reached: whatever opens a file or accepts a connection fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - its own descriptor is among them
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken), hard))
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def test_without_file_descriptors_it_pauses_and_logs_once(listener: socket.socket) -> None:
    async def main() -> None:
        made = Connections()
        with waiting(listener, 3):
            with capture_logs() as logged, no_descriptors_left():
                acceptor = Acceptor(listener, made.create, backlog=BACKLOG, pause_seconds=3600)
                await turns(50)
            assert [(line["event"], line["log_level"]) for line in logged] == [
                ("accepting connections failed", "error")
            ]
            assert logged[0]["error"] == "Too many open files"
            assert not made
            acceptor.close()

    on_a_loop(main())


def test_after_the_pause_it_accepts_the_waiting_connections(listener: socket.socket) -> None:
    async def main() -> None:
        made = Connections()
        with waiting(listener, 3):
            with capture_logs() as logged, no_descriptors_left():
                acceptor = Acceptor(listener, made.create, backlog=BACKLOG, pause_seconds=0)
                assert await until_turn(10, lambda: bool(logged))
            assert await until_turn(50, lambda: len(made) == 3)
            acceptor.close()
            await acceptor.wait_closed()
            made.close()

    on_a_loop(main())


def test_an_acceptor_closed_during_its_pause_stays_closed(listener: socket.socket) -> None:
    async def main() -> None:
        made = Connections()
        with waiting(listener, 1):
            with capture_logs() as logged, no_descriptors_left():
                acceptor = Acceptor(listener, made.create, backlog=BACKLOG, pause_seconds=0)
                assert await until_turn(10, lambda: bool(logged))
                acceptor.close()
            await turns(50)
            assert not made

    on_a_loop(main())


def test_shutdown_stops_accepting_and_closes_connections_just_accepted(listener: socket.socket) -> None:
    """What is accepted and has no protocol yet would otherwise keep the worker for as long as requests may take."""

    async def main() -> None:
        server: Server
        async with served(listener) as server:
            with waiting(listener, 2) as clients, listener.dup() as of_another_worker:
                await turns(1)
                began = asyncio.get_running_loop().time()
                await server.shutdown([listener])
                assert asyncio.get_running_loop().time() - began < WITHIN_SECONDS
                assert [client.recv(1) for client in clients] == [b"", b""]
                with waiting(of_another_worker, 1) as later:
                    await turns(10)
                    assert not server.server_state.connections
                    connection, address = of_another_worker.accept()
                    connection.close()
                    assert address == later[0].getsockname()

    on_a_loop(main())


def test_a_failed_connection_setup_closes_only_that_connection(listener: socket.socket) -> None:
    async def main() -> None:
        made = Connections()

        def create() -> Connection:
            if not made:
                made.create()
                raise RuntimeError("no protocol")
            return made.create()

        with waiting(listener, 2) as clients, capture_logs() as logged:
            acceptor = Acceptor(listener, create, backlog=BACKLOG)
            assert await until_turn(10, lambda: len(made) == 2 and made[1].transport is not None)
            assert clients[0].recv(1) == b""
            assert [line["event"] for line in logged] == ["connection setup failed"]
            acceptor.close()
            await acceptor.wait_closed()
            made.close()

    on_a_loop(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_has_the_socket_options_that_uvloop_sets(host: str) -> None:
    """Small answers are not held back (Nagle), and the client's address is its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError as problem:
        pytest.skip(f"no address {host} here: {problem.strerror}")

    async def main() -> None:
        async with served(listener) as server:
            with waiting(listener, 1) as clients:
                client = clients[0]
                client.setblocking(False)
                client.send(GET)
                assert await until_turn(100, lambda: bool(server.server_state.total_requests))
                await turns(2)  # written
                (connection,) = server.server_state.connections
                accepted = connection.transport.get_extra_info("socket")
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                answer = client.recv(65_536).rpartition(b"\r\n\r\n")[2].decode()
                assert answer.partition(" ")[2] == repr(client.getsockname()[:2])

    with listener:
        on_a_loop(main())
