"""Requests that are sent without waiting for responses.

Invariants
- A client that does not read its responses uses a bounded amount of memory: at most 32 requests are queued, reading
  pauses until their responses are sent, and a connection with more than 256 KiB of unparsed data is closed.
- Other clients are served in the meantime.
- Responses are sent in the order of the requests, whether the fast path or a task handles them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.hostile import messages
from tests.hostile.conftest import address_of
from tests.hostile.inprocess import Echo, InProcessConnection
from tests.hostile.messages import bearer, get, post, unique
from tests.hostile.observed import memory_of, steady_requests
from tests.hostile.wire import LIVE, Address, Connection, Response, exchange, parse_responses
from tests.support.deployment import Deployment, Service

MILLION = 1_000_000
STALLED_SECONDS = 3
"""When a client could not send for this long, the service has stopped reading from it."""
PIPELINED = {
    "anonymous": post("/v1/tokens", b"{}"),
    "not found": get("/no-such-route"),
    "liveness": LIVE,
}


@pytest.fixture
def own_service(deployment: Deployment, key: str, channel: str) -> Iterator[Service]:
    """A warmed-up service for one test, which measures its memory."""
    with deployment.serve(ACCESS_LOG="false") as service:
        for number in range(50):
            for request in (LIVE, messages.token(channel, unique("warm"), key), get(f"/no-{number}")):
                exchange(address_of(service), request)
        yield service


@pytest.mark.long
@pytest.mark.parametrize("pipelined", PIPELINED)
def test_a_client_that_never_reads_uses_little_memory(
    own_service: Service, key: str, channel: str, pipelined: str
) -> None:
    address = address_of(own_service)
    with (
        memory_of(own_service.process) as memory,
        steady_requests(address, messages.token(channel, unique("other"), key), 201) as durations,
        Connection(address) as connection,
    ):
        _send_while_accepted(connection.socket, PIPELINED[pipelined], MILLION)
    assert memory.grown_mib < 32
    assert max(durations) < 5
    assert own_service.process.is_running


@pytest.mark.long
def test_a_client_that_reads_slowly_uses_little_memory(own_service: Service, key: str, channel: str) -> None:
    address, stopping = address_of(own_service), threading.Event()
    with (
        memory_of(own_service.process) as memory,
        steady_requests(address, messages.token(channel, unique("other"), key), 201) as durations,
        Connection(address) as connection,
    ):

        def read() -> None:
            while not stopping.wait(0.01):
                try:
                    if not connection.socket.recv(1024):
                        return
                except TimeoutError:
                    continue

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        _send_while_accepted(connection.socket, PIPELINED["anonymous"], MILLION, for_seconds=12)
        stopping.set()
        reader.join(30)
    assert memory.grown_mib < 32
    assert max(durations) < 5


@pytest.mark.long
def test_fifty_clients_that_never_read_use_little_memory(own_service: Service, key: str, channel: str) -> None:
    address = address_of(own_service)
    connections = [Connection(address) for _ in range(50)]
    try:
        with (
            memory_of(own_service.process) as memory,
            steady_requests(address, messages.token(channel, unique("other"), key), 201) as durations,
        ):
            senders = [
                threading.Thread(
                    target=_send_while_accepted,
                    args=(connection.socket, PIPELINED["not found"], MILLION // 5),
                    daemon=True,
                )
                for connection in connections
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join(120)
    finally:
        for connection in connections:
            connection.socket.close()
    assert memory.grown_mib < 128
    assert max(durations) < 10


@pytest.mark.long
@pytest.mark.parametrize("size", [200, 15_000], ids=["small", "large"])
def test_queued_requests_of_fifty_clients_use_little_memory(
    own_service: Service, key: str, channel: str, size: int
) -> None:
    """Each client sends a batch, which a task handles, and then 4 MiB of requests that wait for its response."""
    address = address_of(own_service)
    connections = [Connection(address) for _ in range(50)]
    try:
        with memory_of(own_service.process) as memory, steady_requests(address, LIVE, 200):
            queued = get("/no-such-route", b"X: " + b"x" * size)
            for connection in connections:
                connection.send(messages.batch(channel, unique("first"), key))
            for connection in connections:
                _send_while_accepted(connection.socket, queued, 4_194_304 // len(queued), stalled_seconds=0.1)
    finally:
        for connection in connections:
            connection.socket.close()
    assert memory.grown_mib < 128


@pytest.mark.long
@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_responses_come_in_order(direct: Address, key: str, channel: str, count: int) -> None:
    """Each response identifies its request, by a viewer or by the name of an unknown field."""
    _assert_in_order(direct, key, channel, count)


def test_a_few_hundred_responses_come_in_order(direct: Address, key: str, channel: str) -> None:
    _assert_in_order(direct, key, channel, 300)


@pytest.mark.parametrize("target", ["/slow", "/quick"])
def test_at_most_32_requests_are_queued(target: str) -> None:
    """200 requests follow one whose response is delayed: reading pauses, and resumes as responses are sent."""

    async def run() -> None:
        release = asyncio.Event()
        application = _DelayedEcho(release)
        connection = InProcessConnection(application)
        await connection.feed(post("/delayed", b""), iterations=5)
        for number in range(33):
            connection.protocol.data_received(post(target, b"%d" % number))
            await asyncio.sleep(0)
        assert not connection.transport.reading
        release.set()
        for number in range(33, 200):
            assert await connection.feed(post(target, b"%d" % number), iterations=number % 3)
        await connection.drain()
        responses, leftover = connection.responses()
        assert ([response.status for response in responses], leftover) == ([200] * 201, b"")
        assert [seen.body for seen in application.seen] == [b"", *(b"%d" % number for number in range(200))]
        assert connection.transport.reading
        await connection.close()

    asyncio.run(run())


def test_200_requests_in_one_packet_get_responses_in_order() -> None:
    async def run() -> None:
        application = Echo(lambda: 1)
        connection = InProcessConnection(application)
        stream = b"".join(post("/slow" if number % 3 else "/quick", b"%d" % number) for number in range(200))
        await connection.feed(stream)
        await connection.drain()
        responses, leftover = connection.responses()
        assert ([response.status for response in responses], leftover) == ([200] * 200, b"")
        assert [seen.body for seen in application.seen] == [b"%d" % number for number in range(200)]
        await connection.close()

    asyncio.run(run())


def test_more_than_256_kib_of_unparsed_data_closes_the_connection() -> None:
    """Data that a transport delivers while reading is paused does not fill the memory."""

    async def run() -> None:
        connection = InProcessConnection(_DelayedEcho(asyncio.Event()))
        await connection.feed(post("/delayed", b""), iterations=5)
        packet = post("/slow", b"body") * 600
        for _ in range(64):
            if connection.transport.closed:
                break
            connection.protocol.data_received(packet)
            await asyncio.sleep(0)
        assert connection.transport.closed
        await connection.close()

    asyncio.run(run())


class _DelayedEcho(Echo):
    """Responds to `/delayed` only after the event is set."""

    def __init__(self, release: asyncio.Event) -> None:
        super().__init__(lambda: 1)
        self._release = release

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def] # like its base's
        if scope["path"] == "/delayed":
            await self._release.wait()
        await super().__call__(scope, receive, send)


def _assert_in_order(address: Address, key: str, channel: str, count: int) -> None:
    makers = [
        lambda name: messages.token(channel, name, key),
        lambda name: messages.token(channel, name, key),
        lambda name: post("/v1/tokens", json.dumps({name: 1}).encode(), bearer(key)),
        lambda name: messages.token(channel, name, key),
        lambda name: messages.batch(channel, name, key),
        lambda name: get("/no-such-route"),
        lambda name: messages.token(channel, name, key, b"Expect: 100-continue"),
        lambda name: post("/v1/tokens", b"{" + name.encode(), b"Authorization: Bearer tsk_0_0"),
        lambda name: get("/v1/tokens"),
    ]
    statuses = [201, 201, 422, 201, 200, 404, 201, 401, 405]
    names = [unique("f") for _ in range(count)]
    kinds = [(number * 7 + number // 11) % len(makers) for number in range(count)]
    requests = [makers[kind](name) for kind, name in zip(kinds, names, strict=True)]
    with Connection(address) as connection:
        sender = threading.Thread(target=lambda: [connection.send(request) for request in requests], daemon=True)
        sender.start()
        data = b""
        responses: list[Response] = []
        while len(responses) < count:
            piece = connection.socket.recv(262_144)
            assert piece, f"closed after {len(responses)} responses"
            parsed, data = parse_responses(data + piece)
            responses += parsed
        sender.join(30)
    assert [response.status for response in responses] == [statuses[kind] for kind in kinds]
    for response, name in zip(responses, names, strict=True):
        if response.status == 201:
            assert response.viewer == name
        elif response.status == 200:
            assert response.batch_viewers == [name]
        elif response.status == 422:
            assert name in [error["field"] for error in response.json["errors"]]
    assert len({response.headers["x-request-id"] for response in responses}) == count


def _send_while_accepted(
    connection: socket.socket,
    request: bytes,
    count: int,
    *,
    for_seconds: float = 60,
    stalled_seconds: float = STALLED_SECONDS,
) -> None:
    """Send up to `count` requests; stop when nothing was accepted for a while."""
    connection.settimeout(stalled_seconds)
    block, ends_at = request * 200, time.monotonic() + for_seconds
    try:
        for _ in range(count // 200 + 1):
            connection.sendall(block)
            if time.monotonic() > ends_at:
                return
    except (TimeoutError, ConnectionError):
        return
