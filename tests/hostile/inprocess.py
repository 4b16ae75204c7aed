"""The service's HTTP protocol in the test's process: on a transport that the test controls, or in a server thread.

Invariants
- The protocol is constructed as uvicorn constructs it, from the configuration that `make_server` returns.
- The transport obeys the protocol: it delivers nothing while reading is paused, it closes the connection at the end of
  input unless the protocol keeps its half open, and `connection_lost` follows `close`.
- The application's response contains the whole request: method, target, headers and body.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.hostile.wire import Address, parse_responses
from tests.hostile.wire import Response as ParsedResponse
from tests.support.processes import wait_until
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.context import Respond
from tokensvc.web.open_connections import ConnectionState
from tokensvc.web.protocol import Protocol
from tokensvc.web.server import make_server

QUIET_ITERATIONS = 50
"""After this many iterations of the event loop without any activity, no more activity is expected."""
Delays = Callable[[], int]
"""Returns how many iterations of the event loop the next response takes."""


class SeenRequest(NamedTuple):
    """A complete request as the application saw it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def rendered(self) -> bytes:
        """The body of the response to it."""
        return repr(tuple(self)).encode()


class Echo:
    """An application that returns each request's contents: `/quick` on the fast path, all others in a task. It responds
    to `/early` before it reads the body."""

    def __init__(self, delays: Delays = lambda: 0) -> None:
        self.seen: list[SeenRequest] = []
        self.running = 0
        self._delays = delays
        self._waiting: list[tuple[Respond, SeenRequest]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        self.running += 1
        try:
            await self._respond(scope, receive, send)
        finally:
            self.running -= 1

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        seen = _request_of(scope, body)
        self.seen.append(seen)
        for _ in range(self._delays()):
            await asyncio.sleep(0)
        length = str(len(seen.rendered)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for _ in range(self._delays()):
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": seen.rendered})

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        if scope["path"] != "/quick":
            return False
        seen = _request_of(scope, body)
        self.seen.append(seen)
        if self._delays() == 0:
            respond(Response(200, seen.rendered, (JSON,), "ok"), "id")
        else:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self.flush)
            self._waiting.append((respond, seen))
        return True

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for respond, seen in waiting:
            respond(Response(200, seen.rendered, (JSON,), "ok"), "id")


def _request_of(scope: Scope, body: bytes) -> SeenRequest:
    target = scope.get("raw_path") or scope["path"].encode()
    if scope.get("query_string"):
        target += b"?" + scope["query_string"]
    return SeenRequest(scope["method"].encode(), target, list(scope["headers"]), body)


class Transport(asyncio.Transport):
    """A transport that records what was written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 5000), "sockname": ("127.0.0.1", 80)})
        self.protocol: Any = None
        self.written = b""
        self.written_late = b""
        """What was written after the connection was closed."""
        self.reading = True
        self.closed = False
        self.half_closed = False

    @property
    def ended(self) -> bool:
        """Whether the client has seen the end of the connection."""
        return self.closed or self.half_closed

    def write(self, data: Any) -> None:
        if self.ended:
            self.written_late += bytes(data)
        else:
            self.written += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignored: nothing is buffered."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class InProcessConnection:
    """One connection to an application, in the running event loop."""

    def __init__(self, application: Echo, protocol_class: type[Protocol] = Protocol) -> None:
        state = ConnectionState()
        state.default_headers = [(b"date", b"today")]
        config = make_server(application, lambda: None, delay_seconds=0).config
        self.application = application
        self.transport = Transport()
        self.protocol: Any = protocol_class(config, state, {}, asyncio.get_running_loop())
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    async def feed(self, data: bytes, iterations: int = 0) -> bool:
        """Deliver data once the protocol is reading, then run this many iterations of the event loop. False when the
        connection is closed."""
        if not self.transport.reading:
            await self.drain(until_reading=True)
        if self.transport.closed:
            return False
        assert self.transport.reading, "reading was not resumed"
        self.protocol.data_received(data)
        for _ in range(iterations):
            await asyncio.sleep(0)
        return True

    async def finish(self) -> None:
        """Deliver the end of input."""
        if not self.transport.closed and not self.protocol.eof_received():
            self.transport.close()
        await self.drain()

    async def drain(self, *, until_reading: bool = False) -> None:
        """Run the event loop until there is no more activity; with `until_reading`, only until the protocol reads."""
        quiet, state = 0, self._state()
        while quiet < QUIET_ITERATIONS and not (until_reading and (self.transport.reading or self.transport.closed)):
            await asyncio.sleep(0)
            quiet, state = (quiet + 1 if self._state() == state else 0), self._state()

    async def close(self) -> None:
        """Close the connection."""
        self.transport.close()
        await self.drain()

    def responses(self) -> tuple[list[ParsedResponse], bytes]:
        return parse_responses(self.transport.written)

    def _state(self) -> tuple[object, ...]:
        application, transport = self.application, self.transport
        return len(transport.written), len(application.seen), application.running, transport.closed, transport.reading


@contextlib.contextmanager
def served(application: ASGIApp) -> Iterator[Address]:
    """Run the service's server with this application in a thread while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(application, lambda: None, delay_seconds=0)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        wait_until(lambda: server.started, "the server starts")
        try:
            yield Address("127.0.0.1", listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(10)
        assert not thread.is_alive()
