"""Thousands of mutated requests on many connections, alongside well-behaved clients.

Invariants
- Every well-behaved request gets its own response, whatever other clients send: the viewer in the claims is the
  requested one. This holds directly and on the connections that a proxy shares among its clients.
- No response is an internal error; the worker keeps running, and its memory stays bounded.
- Every run generates the same mutations, from SEED.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.hostile import messages
from tests.hostile.messages import bearer, get, post, unique
from tests.hostile.observed import memory_of
from tests.hostile.wire import LIVE, Address, Response, exchange, parse_responses
from tests.support.deployment import Service

SEED = 11
MUTATED_REQUESTS = 10_000
MUTATING_CLIENTS = 100
WELL_BEHAVED_CLIENTS = 30
"""Fewer than the batches of one caller that a worker accepts at a time, a sixteenth of TOKENSVC_MAX_IN_FLIGHT."""
WAIT_SECONDS = 0.1
"""How long a mutating client waits for a response; a truncated request gets none."""
RESPONSE_SECONDS = 30
DOCUMENTED_STATUSES = {200, 201, 202, 400, 401, 403, 404, 405, 408, 409, 413, 414, 422, 431, 501, 503, 505}
PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b";", b"\r\n\r\n", b"0\r\n\r\n", b"Content-Length: 3\r\n",
          b"Transfer-Encoding: chunked\r\n", b"Connection: Upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n",
          b"GET /livez HTTP/1.1\r\n", b"Host: y\r\n", b"HTTP/1.0", b"HTTP/2.0", b"Connection: close\r\n", b"chunked",
          b"\x80"]  # fmt: skip


class Mutator:
    """Valid requests with random mutations."""

    def __init__(self, seed: int, channel: str, key: str) -> None:
        self._rng = random.Random(seed)
        self._channel = channel
        self._key = key

    def requests(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            data = self._valid()
            for _ in range(self._rng.choice((1, 1, 1, 2, 3, 8))):
                data = self._mutated(data)
            yield data or b"\0"

    def _valid(self) -> bytes:
        viewer, channel = unique("mutant"), self._channel
        body = messages.token_body(channel, viewer)
        key = self._rng.choice((self._key, self._key, "tsk_0_0"))
        choices = [
            messages.token(channel, viewer, key),
            messages.batch(channel, viewer, key),
            messages.revocation(channel, viewer, key),
            messages.post_chunked("/v1/tokens", body, bearer(key), trailers=(b"X-Trailer: a",)),
            messages.token(channel, viewer, key, b"Connection: Upgrade", b"Upgrade: h2c"),
            messages.token(channel, viewer, key) * 3,
            post("/v1/tokens", LIVE * 2),
            get("/v1/revocations", bearer(key)),
            LIVE,
        ]
        return self._rng.choice(choices)

    def _mutated(self, data: bytes) -> bytes:
        rng = self._rng
        at, to = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        kind = rng.choice(("flip", "insert", "piece", "delete", "duplicate", "truncate", "splice", "line"))
        if kind == "flip" and at < len(data):
            return data[:at] + bytes([data[at] ^ (1 << rng.randint(0, 7))]) + data[at + 1 :]
        if kind == "insert":
            return data[:at] + rng.randbytes(rng.randint(1, 4)) + data[at:]
        if kind == "piece":
            return data[:at] + rng.choice(PIECES) + data[at:]
        if kind == "delete":
            return data[:at] + data[min(to, at + rng.randint(1, 20)) :]
        if kind == "duplicate":
            return data[:to] + data[at:]
        if kind == "truncate":
            return data[:at]
        if kind == "splice":
            return data[:at] + self._valid()[rng.randint(0, 100) :]
        line = data.find(b"\r\n", at) + 2
        return data[:line] + rng.choice(PIECES) + data[line:]


class MutatingClient:
    """A client that sends mutated requests and counts its responses by status."""

    def __init__(self, address: Address, requests: list[bytes], statuses: Counter[int]) -> None:
        self._address = address
        self._requests = requests
        self._statuses = statuses

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        data = b""
        for request in self._requests:
            if writer.is_closing() or reader.at_eof():
                writer.close()
                (reader, writer), data = await asyncio.open_connection(*self._address), b""
            try:
                writer.write(request)
                await writer.drain()
                data += await asyncio.wait_for(reader.read(65_536), WAIT_SECONDS)
            except TimeoutError:
                continue
            except ConnectionError:
                writer.close()
                continue
            if data.startswith(b"HTTP/"):
                found, data = parse_responses(data)
                self._statuses.update(response.status for response in found)
        writer.close()


class WellBehavedClient:
    """A client that requests tokens for its own viewers and checks that it gets them."""

    def __init__(self, address: Address, channel: str, key: str) -> None:
        self._address = address
        self._channel = channel
        self._key = key
        self.completed = 0

    async def run(self, stopping: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        while not stopping.is_set() or self.completed < 5:
            viewer = unique("well-behaved")
            make = messages.batch if self.completed % 3 == 2 else messages.token
            writer.write(make(self._channel, viewer, self._key))
            response = await asyncio.wait_for(_read_response(reader), RESPONSE_SECONDS)
            if response.status == 503:  # the service may be overloaded, and say so
                await asyncio.sleep(0.1)
                continue
            viewers = response.batch_viewers if make is messages.batch else [response.viewer]
            assert viewers == [viewer], response
            self.completed += 1
            await asyncio.sleep(0.02)
        writer.close()


async def _read_response(reader: asyncio.StreamReader) -> Response:
    data = b""
    while True:
        piece = await reader.read(65_536)
        assert piece, f"a well-behaved client's connection was closed: {data!r}"
        data += piece
        found, rest = parse_responses(data)
        if found:
            assert (len(found), rest) == (1, b""), "more than one response to one request"
            return found[0]


@pytest.mark.long
def test_mutated_requests_affect_no_other_client(
    entry: Address, direct: Address, service: Service, key: str, channel: str
) -> None:
    mutator = Mutator(SEED, channel, key)
    statuses: Counter[int] = Counter()
    well_behaved = [WellBehavedClient(entry, channel, key) for _ in range(WELL_BEHAVED_CLIENTS)]
    mutating = [
        MutatingClient(entry, list(mutator.requests(MUTATED_REQUESTS // MUTATING_CLIENTS)), statuses)
        for _ in range(MUTATING_CLIENTS)
    ]

    async def run() -> None:
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for client in well_behaved:
                group.create_task(client.run(stopping))
            try:
                await asyncio.gather(*(client.run() for client in mutating))
            finally:  # also when a well-behaved client failed: wait_for of Python 3.11 may swallow a cancellation
                stopping.set()

    log_start = len(service.process.err)
    with memory_of(service.process) as memory:
        asyncio.run(run())
    proxy_statuses = set() if entry == direct else {502, 504}
    assert set(statuses) <= DOCUMENTED_STATUSES | proxy_statuses, statuses
    assert sum(statuses.values()) > MUTATED_REQUESTS // 20, "too few requests got responses"
    assert sum(client.completed for client in well_behaved) >= WELL_BEHAVED_CLIENTS * 5
    log = service.process.err[log_start:]
    assert "internal error" not in log
    assert "Traceback" not in log
    assert memory.grown_mib < 64
    assert service.process.is_running
    assert exchange(direct, LIVE).status == 200


def test_a_few_mutated_requests_get_valid_responses(direct: Address, key: str, channel: str) -> None:
    """A small version for runs without long tests: 20 clients with 25 requests each."""
    mutator = Mutator(SEED + 1, channel, key)
    statuses: Counter[int] = Counter()

    async def run() -> None:
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(WellBehavedClient(direct, channel, key).run(stopping))
            mutating = [MutatingClient(direct, list(mutator.requests(25)), statuses) for _ in range(20)]
            await asyncio.gather(*(client.run() for client in mutating))
            stopping.set()

    asyncio.run(run())
    assert set(statuses) <= DOCUMENTED_STATUSES, statuses
