"""uvicorn, as this service runs it.

Rules of the file
- Told to stop, a worker is unready at once, serves on for the delay so that balancers notice, then finishes what is in
  flight, for 15 seconds at most. A second signal ends the delay.
- A request's head may have 16 KiB, and 2 MiB may follow it; httptools itself would take any amount, and gather a
  trailer without an end.
- Who is slow is not waited for: a connection that is found at the same unfinished request after 75 seconds is closed.
- Idle connections are kept for 75 seconds, longer than the 60 of AWS's load balancers, which must be the ones to close.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tokensvc.web.failures import Answer, plain_refusal

HEAD_MAX_BYTES = 16 * 1024
REST_MAX_BYTES = 2 * 1024 * 1024
"""More than any route's body; what no route reads (chunk extensions, trailers) counts too."""
KEEP_ALIVE_SECONDS = 75
IN_FLIGHT_SECONDS = 15
_HEAD = (
    b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\nx-request-id: %s\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n"
)
_HEAD_TOO_LARGE = plain_refusal(
    431, "headers_too_large", f"The request line and headers together may have at most {HEAD_MAX_BYTES} bytes."
)
_TOO_LARGE = plain_refusal(413, "request_too_large", f"A request may have at most {REST_MAX_BYTES} bytes.")
_NOT_HTTP = plain_refusal(400, "unreadable_request", "The request is not valid HTTP/1.1.")
_STATUS_LINES = {400: b"400 Bad Request", 413: b"413 Content Too Large", 431: b"431 Request Header Fields Too Large"}


class _Protocol(HttpToolsProtocol):
    """httptools' protocol, with limits on what a client sends: how much, and how slowly."""

    _known_cycle: RequestResponseCycle | None = None
    _head_bytes = 0
    """What arrived while no request was under way: the beginning of the next one."""
    _bytes = 0
    """What arrived since the last head was whole."""
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._watch = self.loop.call_later(KEEP_ALIVE_SECONDS, self._look, None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.cancel()

    def data_received(self, data: bytes) -> None:
        between = _is_whole(self.cycle)
        super().data_received(data)
        self._bytes += len(data)
        cycle = self.cycle
        if cycle is not self._known_cycle:
            arrived, self._known_cycle, self._head_bytes, self._bytes = self._bytes, cycle, 0, 0
            if arrived > HEAD_MAX_BYTES and _head_bytes(cycle) > HEAD_MAX_BYTES:
                self._refuse(_HEAD_TOO_LARGE)
        elif between:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(_HEAD_TOO_LARGE)
        elif self._bytes > REST_MAX_BYTES:
            self._refuse(_TOO_LARGE)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None:
            self.cycle.more_body = False  # uvicorn leaves it set when the answer was there first

    def _look(self, before: RequestResponseCycle | None) -> None:
        """Close the connection when it is at the same unfinished request as the last time."""
        cycle = self.cycle
        unfinished = cycle is None or cycle.more_body or self._head_bytes > 0
        if cycle is before and unfinished:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(KEEP_ALIVE_SECONDS, self._look, cycle)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not ours
        self._refuse(_NOT_HTTP)

    def _refuse(self, answer: Answer) -> None:
        if not self.transport.is_closing():
            request_id = secrets.token_hex(8).encode()
            head = _HEAD % (_STATUS_LINES[answer.status], request_id, len(answer.body))
            self.transport.write(head + answer.body)
            self.transport.close()


def _is_whole(cycle: RequestResponseCycle | None) -> bool:
    """Whether nothing is under way: what arrives now is the beginning of the next request."""
    return cycle is None or (cycle.response_complete and not cycle.more_body)


def _head_bytes(cycle: RequestResponseCycle) -> int:
    scope = cycle.scope
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) + 4 for k, v in scope["headers"])


class Server(uvicorn.Server):
    """One worker's server."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None], delay_seconds: float) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._delay_seconds = delay_seconds
        self._stopping = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it so
        """SIGTERM: unready now, closed after the delay. SIGINT, or a second signal: closed now, without the delay."""
        self._on_stop()
        if self._stopping or sig == signal.SIGINT:
            self.should_exit = True
            return
        self._stopping = True
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._delay_seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def make_server(
    asgi: ASGIApp, on_stop: Callable[[], None], *, delay_seconds: float, trusted_proxies: tuple[str, ...] = ()
) -> Server:
    """A server for this application; give it bound sockets."""
    options: dict[str, Any] = {"forwarded_allow_ips": list(trusted_proxies)} if trusted_proxies else {}
    config = uvicorn.Config(
        asgi,
        http=_Protocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=IN_FLIGHT_SECONDS,
        **options,
    )
    return Server(config, on_stop, delay_seconds)
