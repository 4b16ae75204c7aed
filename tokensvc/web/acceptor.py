"""Accepts connections, several in one iteration of the event loop, so that new ones are served as soon as busy ones.

Invariants
- One iteration accepts up to ACCEPTS_PER_ITERATION connections. libuv, and so uvloop, accepts one per iteration. An
  iteration of a loaded worker lasts as long as serving every connection that has sent something; with one accept
  each, many new connections, health checks among them, would wait for as many iterations as there are of them.
- No iteration accepts more than that: several workers share one listening socket, and connections that one of them
  leaves in the queue are available to the others. A busy worker has longer iterations, and so accepts fewer connections
  than an idle one.
- When `accept` fails for lack of file descriptors or memory, the listening socket is left alone for PAUSE_SECONDS and
  one line is logged. The socket stays readable meanwhile, so without the pause every iteration would fail again. The
  connections wait in the kernel's queue, and none of them is reset.
- A worker that has as many connections as it may have accepts nothing for FULL_PAUSE_SECONDS, so that workers with
  room do. What still waits then is accepted in place of idle connections (`web/open_connections.py`), after the accept,
  so that none is closed for a client that another worker took. Without any, clients wait in the kernel's queue.
- A closed acceptor accepts nothing. When `wait_closed` returns, every connection that it accepted has its protocol,
  which can then be shut down.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tokensvc.log import structlog
from tokensvc.web.open_connections import ConnectionLimit, ConnectionState

ACCEPTS_PER_ITERATION = 32
PAUSE_SECONDS = 1.0
"""The same as in asyncio's own server."""
FULL_PAUSE_SECONDS = 0.05
"""How long a worker with as many connections as allowed leaves new ones to the others."""

_log = structlog.get_logger(__name__)


class Acceptor:
    """Accepts the connections of one listening socket, from construction until `close`.

    The owner of the socket closes it after the acceptor.
    """

    def __init__(
        self,
        listener: socket.socket,
        create_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        backlog: int,
        pause_seconds: float = PAUSE_SECONDS,
        limit: ConnectionLimit | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._create_protocol = create_protocol
        self._pause_seconds = pause_seconds
        self._limit = limit or ConnectionLimit(ConnectionState(), None)
        self._has_paused = False
        """Whether others could take the connections that wait, because this worker has as many as allowed."""
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        listener.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Stop accepting. Accepted connections continue."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait until every accepted connection has been handed to its protocol."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        has_paused, self._has_paused = self._has_paused, False
        for _ in range(ACCEPTS_PER_ITERATION):
            is_full = self._limit.is_reached(len(self._connecting))
            if is_full and not (has_paused and self._limit.has_idle()):
                self._has_paused = True
                self._pause_for(FULL_PAUSE_SECONDS)
                return
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:  # the queue is empty, or another worker was faster
                return
            except ConnectionAbortedError:  # the client disconnected while it waited
                continue
            except OSError as error:
                self._pause_after(error)
                return
            if is_full:
                self._limit.close_idle()
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._create_protocol, connection)
        except Exception:  # noqa: BLE001 - only this connection is lost
            _log.exception("connection setup failed")
            connection.close()

    def _pause_after(self, error: OSError) -> None:
        _log.error(
            "accepting connections failed",
            error=error.strerror,
            errno=error.errno,
            retry_seconds=self._pause_seconds,
        )
        self._pause_for(self._pause_seconds)

    def _pause_for(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._resume)
