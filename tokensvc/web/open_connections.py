"""The open connections of one worker, ordered by when each was last used, and which is closed to accept another.

Invariants
- A connection is closed for another only while nothing of its client's is in flight: it waits for the client's next
  request, or has waited HEAD_SECONDS for the rest of a request's head. Requests that are handled, bodies that arrive,
  what the kernel has received and nobody has read, and responses that are not yet read keep a connection open.
- The one that has been idle longest is closed first. "Used" is when a connection was opened, when a request arrived
  completely, and when a task's response was complete.
- Finding it takes constant time: at most MAX_EXAMINED connections are examined, and those that cannot be closed count
  as used, so that the next search begins behind them.
- One line is logged when this begins, and at most one in LOG_INTERVAL_SECONDS, with how many were closed since.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import struct
import termios
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from uvicorn.server import ServerState

from tokensvc.log import structlog

HEAD_SECONDS = 10.0
"""As long as the body of a request may take (`http/body.py`)."""
MAX_EXAMINED = 64
LOG_INTERVAL_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def has_unread_bytes(transport: asyncio.Transport) -> bool:
    """Whether the kernel has received bytes of the client's that were not yet read."""
    socket = transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return False
    (unread,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.FIONREAD, bytes(4)))
    return bool(unread)


class ClosableConnection(Protocol):
    """What is known here of a connection."""

    def is_idle(self, head_seconds: float) -> bool:
        """Whether it can be closed without a loss: it waits for a request, or longer than so for the rest of a head."""
        ...

    def close_idle(self) -> None:
        """Close it now."""
        ...


class ConnectionState(ServerState):
    """uvicorn's state of a server, and the order of its connections."""

    def __init__(self) -> None:
        super().__init__()
        self.by_use: OrderedDict[ClosableConnection, None] = OrderedDict()
        """The connections that count, the one that was used longest ago first."""

    def used(self, connection: ClosableConnection) -> None:
        """Note that a connection is used now. One that is closing does not count any more."""
        if connection in self.by_use:
            self.by_use.move_to_end(connection)


class ConnectionLimit:
    """The limit on one worker's connections."""

    def __init__(
        self,
        state: ConnectionState,
        max_connections: int | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._max_connections = max_connections
        self._monotonic = monotonic
        self._closed = 0
        """Since the last log line."""
        self._log_at = -math.inf

    def is_reached(self, connecting: int) -> bool:
        """Whether there are as many connections as there may be, with those that have no protocol yet."""
        return self._max_connections is not None and len(self._state.by_use) + connecting >= self._max_connections

    def has_idle(self) -> bool:
        """Whether a connection can be closed for another."""
        return self._longest_idle() is not None

    def close_idle(self) -> None:
        """Close the connection that has been idle longest, if there is one."""
        connection = self._longest_idle()
        if connection is None:
            return
        del self._state.by_use[connection]
        connection.close_idle()
        self._closed += 1
        now = self._monotonic()
        if now - self._log_at >= LOG_INTERVAL_SECONDS:
            _log.warning("idle connections closed", closed=self._closed, max_connections=self._max_connections)
            self._closed, self._log_at = 0, now

    def _longest_idle(self) -> ClosableConnection | None:
        by_use = self._state.by_use
        for _ in range(min(MAX_EXAMINED, len(by_use))):
            connection = next(iter(by_use))
            if connection.is_idle(HEAD_SECONDS):
                return connection
            by_use.move_to_end(connection)
        return None
