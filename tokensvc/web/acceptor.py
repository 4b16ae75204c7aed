"""Accepting connections: many in one turn of the event loop, so that a new connection is served as soon as a busy one.

Invariants
- A turn in which connections wait takes up to ACCEPTS_PER_ITERATION of them. libuv, and uvloop on top of it, takes one a
  turn; a turn of a loaded worker lasts as long as it takes to serve every connection that has sent something, so that
  a crowd of new connections, health checks among them, would wait for as many of those as there are new connections.
- No turn takes more than that: several workers share one listening socket, and what one of them leaves in the queue
  is there for the others. A worker with much to do has longer turns, and so takes fewer connections than an idle one.
- When `accept` fails because no file descriptor or no memory is left, the listening socket is left alone for
  PAUSE_SECONDS and one line is logged. It stays readable meanwhile, so that without the pause each turn would try again
  and fail again. The connections wait in the kernel's queue, and none of them is reset.
- Once closed, an acceptor accepts nothing, and when `wait_closed` returns, every connection that it did accept has its
  protocol, which can then be shut down.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tokensvc.log import structlog

ACCEPTS_PER_ITERATION = 32
PAUSE_SECONDS = 1.0
"""As long as asyncio's own server pauses."""

_log = structlog.get_logger(__name__)


class Acceptor:
    """Accepts the connections of one listening socket, from when it is made until it is closed.

    The socket stays its owner's to close, after the acceptor.
    """

    def __init__(
        self,
        listener: socket.socket,
        create_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        backlog: int,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._create_protocol = create_protocol
        self._pause_seconds = pause_seconds
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        listener.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Stop accepting. What was accepted goes on."""
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
        for _ in range(ACCEPTS_PER_ITERATION):
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:  # the queue is empty, or another worker was faster
                return
            except ConnectionAbortedError:  # the client left while it waited
                continue
            except OSError as problem:
                self._pause_after(problem)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._create_protocol, connection)
        except Exception:  # noqa: BLE001 - one connection less; the others go on
            _log.exception("an accepted connection could not be set up")
            connection.close()

    def _pause_after(self, problem: OSError) -> None:
        _log.error(
            "no connections can be accepted for now",
            problem=problem.strerror,
            errno=problem.errno,
            retry_seconds=self._pause_seconds,
        )
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(self._pause_seconds, self._resume)
