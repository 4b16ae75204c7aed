"""One keep-alive connection and the request in flight on it.

Invariants
- One request at a time, no pipelining, as real callers do.
- A connection that breaks, or whose response is not HTTP, is lost; its owner opens another.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol, cast

import httptools

from benchmarks.load.wire import Request


class SentRequest(NamedTuple):
    """A request and the instant at which it was due, on the loop's clock."""

    due_at: float
    request: Request


class Owner(Protocol):
    """Receives the events of a connection."""

    def completed(self, connection: Connection, sent: SentRequest, status: int, body: bytes) -> None: ...

    def lost(self, connection: Connection, sent: SentRequest | None, reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """Writes prepared bytes and reads responses."""

    __slots__ = ("_owner", "_parser", "_parts", "_transport", "_why", "is_usable", "sent")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._why = "connection lost"
        self.sent: SentRequest | None = None
        """The request in flight; None while the connection is free."""
        self.is_usable = True

    def send(self, sent: SentRequest) -> None:
        """Write a request. The connection must be free."""
        assert self._transport is not None
        self.sent = sent
        self._transport.write(sent.request.data)

    def drop(self, reason: str) -> None:
        """Abort the connection; a request in flight fails with this reason."""
        self._why, self.is_usable = reason, False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.drop("response is not HTTP")

    def connection_lost(self, _: Exception | None) -> None:
        self.is_usable = False
        sent, self.sent = self.sent, None
        self._owner.lost(self, sent, self._why)

    def on_body(self, part: bytes) -> None:
        """Callback of the parser."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Callback of the parser. A response without a request, such as a 408 on an idle connection, is dropped."""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        sent, self.sent = self.sent, None
        if not self._parser.should_keep_alive():
            self.drop("closed by the server")
        if sent is not None:
            self._owner.completed(self, sent, self._parser.get_status_code(), body)
