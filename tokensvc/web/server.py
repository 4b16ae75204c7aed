"""Configures uvicorn for this service.

Invariants
- On SIGTERM a worker is unready immediately, keeps serving for the delay so that load balancers notice, and then
  finishes the requests in flight, within 15 seconds. A second signal ends the delay.
- Idle connections are kept for 75 seconds: longer than the 60 of AWS's load balancers, which must close first.
- Connections are accepted by `web/acceptor.py`, not by uvloop's server. On shutdown, accepting ends first; then every
  accepted connection, however recent, is among those that uvicorn shuts down.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from tokensvc.http.abort_connection import EXTENSION as ABORT_EXTENSION
from tokensvc.web.acceptor import Acceptor
from tokensvc.web.open_connections import ConnectionLimit, ConnectionState
from tokensvc.web.protocol import KEEP_ALIVE_SECONDS, Protocol
from tokensvc.web.trusted_proxies import TrustedProxies

SHUTDOWN_TIMEOUT_SECONDS = 15


class Server(uvicorn.Server):
    """One worker's server."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_stop: Callable[[], None],
        delay_seconds: float,
        max_connections: int | None = None,
    ) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._delay_seconds = delay_seconds
        self.server_state = state = ConnectionState()
        self._limit = ConnectionLimit(state, max_connections)
        self._stopping = False
        self._acceptors: list[Acceptor] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As in uvicorn, but with our own acceptors on the sockets."""
        await super().startup(sockets=[])
        self._acceptors = [
            Acceptor(listener, self._create_protocol, backlog=self.config.backlog, limit=self._limit)
            for listener in sockets or ()
        ]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As in uvicorn, once every accepted connection is among those that it shuts down."""
        for acceptor in self._acceptors:
            acceptor.close()
        for acceptor in self._acceptors:
            await acceptor.wait_closed()
        await super().shutdown(sockets)

    def _create_protocol(self) -> asyncio.BaseProtocol:
        create: Callable[..., asyncio.BaseProtocol] = self.config.http_protocol_class
        return create(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it so
        """SIGTERM: unready now, shutdown after the delay. SIGINT or a second signal: shutdown without the delay."""
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
    asgi: ASGIApp,
    on_stop: Callable[[], None],
    *,
    delay_seconds: float,
    trusted_proxies: tuple[str, ...] = (),
    max_connections: int | None = None,
) -> Server:
    """A server for this application, to be run with bound sockets. `max_connections` are open at once, on all sockets
    together."""
    config = uvicorn.Config(
        TrustedProxies(asgi, trusted_proxies) if trusted_proxies else asgi,
        http=Protocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )
    return Server(config, on_stop, delay_seconds, max_connections)


class _AbortableProtocol(Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in Protocol
        super().connection_made(transport)
        self.extensions = {ABORT_EXTENSION: {"close": transport.close}}


def allow_abort(config: uvicorn.Config) -> None:
    """Let the applications abort connections (`http/abort_connection.py`). Call this before the server runs."""
    config.http = _AbortableProtocol
