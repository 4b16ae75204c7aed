"""A simulation without sockets and waiting: an event loop whose clock jumps to the next event, and a server on it.

Invariants
- Nothing waits: where a real loop would sleep, the clock of this one advances. A run of minutes takes milliseconds.
- The server is one worker: it handles one request after another, and none while it stalls.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

from benchmarks.load import wire
from benchmarks.load.pacer import Stage, instants
from benchmarks.load.plan import RequestRow
from benchmarks.load.reservoir import Reservoir
from benchmarks.load.sender import Sender
from benchmarks.load.tally import Tally
from benchmarks.load.wire import Request, Target

RESPONSE = b'HTTP/1.1 201 Created\r\ncontent-length: 13\r\n\r\n{"token":"t"}'
TARGET = Target("http://simulated", "tsk_x", ("arn",))


class _Jumping(selectors.DefaultSelector):
    """Never waits; advances its clock by the timeout instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Connects every connection to one simulated server."""

    def __init__(self, server: SimulatedServer) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._server = server
        server.loop = self

    def time(self) -> float:
        return self._jumping.now

    def busy(self, seconds: float) -> None:
        """Simulate that the generator's process is busy for `seconds`."""
        self._jumping.now += seconds

    async def create_connection(self, protocol_factory: Callable[[], Any], *_: Any, **__: Any) -> Any:
        protocol = protocol_factory()
        transport = _Transport(self, self._server, protocol)
        protocol.connection_made(transport)
        self._server.connections += 1
        return transport, protocol


class _Transport(asyncio.Transport):
    def __init__(self, loop: SimulatedLoop, server: SimulatedServer, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop, self._server, self._protocol = loop, server, protocol
        self._is_open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._server.receive(bytes(data), self.response)

    def response(self, data: bytes) -> None:
        if not self._is_open:
            return
        if data:
            self._protocol.data_received(data)
        else:
            self.abort()

    def abort(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.call_soon(self._protocol.connection_lost, None)


class SimulatedServer:
    """Takes `service_seconds` for each request and handles none between the two times of `stall`."""

    def __init__(
        self, service_seconds: float = 0.001, stall: tuple[float, float] = (0, 0), response: bytes = RESPONSE
    ) -> None:
        self.loop = cast("SimulatedLoop", None)
        self.connections = 0
        self.started_at = 0.0
        self._service_seconds = service_seconds
        self._stall = stall
        self._response = response
        self._free_at = 0.0

    def receive(self, data: bytes, response: Callable[[bytes], None]) -> None:
        assert data.startswith(b"POST /v1/tokens HTTP/1.1\r\nHost: simulated\r\n")
        starts_at = max(self.loop.time() - self.started_at, self._free_at)
        if self._stall[0] <= starts_at < self._stall[1]:
            starts_at = self._stall[1]
        self._free_at = starts_at + self._service_seconds
        self.loop.call_at(self.started_at + self._free_at, response, self._response)


def run_load(
    server: SimulatedServer,
    *,
    seconds: float = 4,
    rate: float = 100,
    connections: int = 4,
    warmup_seconds: int = 0,
    alongside: Callable[[SimulatedLoop, Sender, float], Coroutine[Any, Any, None]] | None = None,
) -> Tally:
    """Send a whole schedule at a steady, even rate; the counts."""
    loop = SimulatedLoop(server)
    tally = Tally(warmup_seconds)

    async def run() -> None:
        schedule = instants([Stage(seconds, rate, rate)], "even", 1)
        sender = Sender(TARGET, schedule, requests(), tally, Reservoir(10, 1), timeout_seconds=10)
        await sender.connect(connections)
        server.started_at = loop.time() + 1
        other = asyncio.ensure_future(alongside(loop, sender, server.started_at)) if alongside else None
        await asyncio.sleep(1)
        await sender.run(server.started_at)
        if other:
            await other

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return tally


def requests() -> Iterator[Request]:
    """Single tokens."""
    return wire.requests([RequestRow(kind="token")], TARGET, 1)
