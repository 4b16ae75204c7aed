"""One keep-alive connection, and the request that is out on it.

Rules of the file
- One request at a time, no pipelining: a server answers as it would answer real callers.
- A connection that breaks, or whose answer is not HTTP, is lost; whoever owns it opens another.
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
    """Who is told what happened."""

    def completed(self, connection: Connection, sent: SentRequest, status: int, body: bytes) -> None: ...

    def lost(self, connection: Connection, sent: SentRequest | None, reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """Writes prepared bytes, reads answers."""

    __slots__ = ("_owner", "_parser", "_parts", "_transport", "_why", "is_usable", "sent")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._why = "connection lost"
        self.sent: SentRequest | None = None
        """What is out on it; None while it is free."""
        self.is_usable = True

    def send(self, sent: SentRequest) -> None:
        """Write a request. Only on a connection that is free."""
        assert self._transport is not None
        self.sent = sent
        self._transport.write(sent.request.data)

    def drop(self, reason: str) -> None:
        """Give it up at once; the request that is out on it fails for this reason."""
        self._why, self.is_usable = reason, False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.drop("answer is not HTTP")

    def connection_lost(self, _: Exception | None) -> None:
        self.is_usable = False
        sent, self.sent = self.sent, None
        self._owner.lost(self, sent, self._why)

    def on_body(self, part: bytes) -> None:
        """The parser's call."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """The parser's call. A response without a request, such as a 408 on an idle connection, is dropped."""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        sent, self.sent = self.sent, None
        if not self._parser.should_keep_alive():
            self.drop("closed by the server")
        if sent is not None:
            self._owner.completed(self, sent, self._parser.get_status_code(), body)
