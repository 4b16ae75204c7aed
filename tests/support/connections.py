"""One connection without a network: an application that records requests, a transport that records responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import Receive, Scope, Send

from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.context import Respond
from tokensvc.web.open_connections import ConnectionState
from tokensvc.web.protocol import Protocol
from tokensvc.web.server import make_server

RecordedRequest = tuple[str, str, list[tuple[bytes, bytes]], bytes]
"""Method, path, headers and body of a request."""


class Application:
    """Echoes the body of a request to `/quick` on the fast path. Responds to `/early` before it reads the body, to
    `/held` once `release` is set, and to all other paths after it has read the body; raises after the response to
    `/fails-later`."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.fast_path_count = 0
        self.disconnects = 0
        self.failures = 0
        """Exceptions that came out of the application."""
        self.pause_before_body: Callable[[], object] = lambda: None
        """Called between the head of a response and its body."""
        self.release = asyncio.Event()
        self._pending: list[tuple[Respond, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._respond(scope, receive, send)
        except Exception:
            self.failures += 1
            raise

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.requests.append((scope["method"], scope["path"], list(scope["headers"]), body))
        if scope["path"] == "/held":
            await self.release.wait()
        status = 401 if scope["path"] == "/early" else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"4")]})
        self.pause_before_body()
        await send({"type": "http.response.body", "body": b"well"})
        if scope["path"] == "/fails-later":
            await asyncio.sleep(0)
            raise RuntimeError

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        if scope["path"] != "/quick" or body == b"slow":
            return False
        self.requests.append((scope["method"], scope["path"], list(scope["headers"]), body))
        self.fast_path_count += 1
        if body == b"denied":
            respond(Response(403, body, (JSON,), "denied"), "id-1")
            return True
        asyncio.get_running_loop().call_soon(self.flush)
        self._pending.append((respond, body))
        return True

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        for respond, body in pending:
            respond(Response(201, body, (JSON,), "ok"), "id-1")


class Connection(asyncio.Transport):
    """The client's end of the connection."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 5000), "sockname": ("127.0.0.1", 80)})
        self.written = b""
        self.output_ended = False
        self.closed = False
        self.aborted = False
        self.paused = False
        self.unsent_bytes = 0
        self.protocol: asyncio.Protocol | None = None

    def write(self, data: Any) -> None:
        assert not self.closed
        assert not self.output_ended
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.output_ended = True

    def close(self) -> None:
        if not self.closed and self.protocol is not None:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.closed = True

    def abort(self) -> None:
        self.close()
        self.aborted = True

    @property
    def is_finished(self) -> bool:
        """Whether the client will receive nothing more."""
        return self.closed or self.output_ended

    @property
    def statuses(self) -> list[int]:
        """The status codes of all responses so far."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", self.written)]


def open_connection(kind: type[Any], application: Application) -> tuple[Any, Connection]:
    """A connection with this application, in the running loop."""
    state, connection = ConnectionState(), Connection()
    state.default_headers = [(b"date", b"today")]
    config = make_server(application, lambda: None, delay_seconds=0).config
    protocol = kind(config, state, {}, asyncio.get_running_loop())
    connection.protocol = protocol
    protocol.connection_made(connection)
    return protocol, connection


def connect() -> tuple[Protocol, Connection, Application]:
    """A connection, its other end and its application."""
    application = Application()
    protocol, connection = open_connection(Protocol, application)
    return protocol, connection, application


async def run_until_idle(iterations: int = 40) -> None:
    """Run the event loop until nothing is ready."""
    for _ in range(iterations):
        await asyncio.sleep(0)


async def feed(protocol: Any, connection: Connection, pieces: Iterable[bytes], *, wait: bool = True) -> None:
    """Deliver the pieces as a socket would: none after the connection is closed."""
    for piece in pieces:
        if not connection.closed:
            protocol.data_received(piece)
        if wait:
            await run_until_idle()


def request(
    body: bytes = b"body", path: str = "/quick", more: bytes = b"", version: bytes = b"1.1", length: int | None = None
) -> bytes:
    """A POST with a Content-Length; `more` are whole header lines."""
    declared = len(body) if length is None else length
    return b"POST %b HTTP/%b\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path.encode(),
        version,
        more,
        declared,
        body,
    )
