"""uvicorn, as this service runs it.

Rules of the file
- Told to stop, a worker is unready at once, serves on for the delay so that balancers notice, then finishes what is in
  flight, for 15 seconds at most. A second signal ends the delay.
- A request's head may have 16 KiB; httptools itself would take any amount.
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
KEEP_ALIVE_SECONDS = 75
IN_FLIGHT_SECONDS = 15
_HEAD = (
    b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\nx-request-id: %s\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n"
)
_TOO_LARGE = plain_refusal(
    431, "headers_too_large", f"The request line and headers together may have at most {HEAD_MAX_BYTES} bytes."
)
_NOT_HTTP = plain_refusal(400, "unreadable_request", "The request is not valid HTTP/1.1.")
_STATUS_LINES = {400: b"400 Bad Request", 431: b"431 Request Header Fields Too Large"}


class _Protocol(HttpToolsProtocol):
    """httptools' protocol, with a limit on a request's head: what arrives while no request is under way."""

    _head_bytes = 0
    _known_cycle: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is not self._known_cycle:
            self._known_cycle, self._head_bytes = cycle, 0
            if len(data) > HEAD_MAX_BYTES and _head_bytes(cycle) > HEAD_MAX_BYTES:
                self._refuse(_TOO_LARGE)
        elif cycle is None or (cycle.response_complete and not cycle.more_body):
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not ours
        self._refuse(_NOT_HTTP)

    def _refuse(self, answer: Answer) -> None:
        if not self.transport.is_closing():
            request_id = secrets.token_hex(8).encode()
            head = _HEAD % (_STATUS_LINES[answer.status], request_id, len(answer.body))
            self.transport.write(head + answer.body)
            self.transport.close()


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
