"""uvicorn, as this service runs it.

Rules of the file
- Told to stop, a worker is unready at once, serves on for the delay so that balancers notice, then finishes what is in
  flight, for 15 seconds at most. A second signal ends the delay.
- A request's head may have 16 KiB; httptools itself would take any amount.
- Idle connections are kept for 75 seconds, longer than the 60 of AWS's load balancers, which must be the ones to close.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX_BYTES = 16 * 1024
KEEP_ALIVE_SECONDS = 75
IN_FLIGHT_SECONDS = 15
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type":"urn:tokensvc:problem:headers_too_large","title":"headers too large","status":431,'
    b'"detail":"the request line and headers together may have at most 16384 bytes","code":"headers_too_large"}'
)


class _Protocol(HttpToolsProtocol):
    """httptools' protocol, with a limit on a request's head."""

    _head_bytes = 0
    _in_head = True

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE % (len(_PROBLEM), _PROBLEM))
                self.transport.close()


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
