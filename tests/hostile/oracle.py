"""The reference parser: how h11 reads a byte stream, to compare with how the service reads it.

Invariants
- Each request is parsed by a new h11 connection, so that h11's rules about connections do not interfere.
- Blank lines before a request are skipped, as RFC 9112 (2.2) requires of servers; h11 does not.
- Several spaces in a request line count as one, as RFC 9112 (3) allows; h11 does not.
- Trailers are ignored.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

INCOMPLETE_MAX_BYTES = 8 * 1024 * 1024


class Request(NamedTuple):
    """A complete request."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    ends_connection: bool
    """Whether what follows is no longer a request, because the client closes or requests another protocol."""


class ParsedStream(NamedTuple):
    """The complete requests at the start of a stream, up to the first that ends the connection."""

    requests: list[Request]
    rejects_rest: bool
    """Whether h11 rejects what follows them; otherwise what follows is incomplete or empty."""


def parse(stream: bytes) -> ParsedStream:
    requests: list[Request] = []
    while stream := stream.lstrip(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=INCOMPLETE_MAX_BYTES)
        line, newline, rest = stream.partition(b"\r\n")
        connection.receive_data(re.sub(rb" +", b" ", line) + newline + rest)
        try:
            request = _parse_next(connection)
        except h11.RemoteProtocolError:
            return ParsedStream(requests, rejects_rest=True)
        if request is None:
            break
        requests.append(request)
        if request.ends_connection:
            break
        stream, _ = connection.trailing_data
    return ParsedStream(requests, rejects_rest=False)


def _parse_next(connection: h11.Connection) -> Request | None:
    head = connection.next_event()
    if not isinstance(head, h11.Request):
        return None
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if not isinstance(event, h11.Data):
            return None
        body += bytes(event.data)
    headers = [(bytes(name), bytes(value)) for name, value in head.headers]
    options = [
        value.strip().lower() for name, values in headers if name == b"connection" for value in values.split(b",")
    ]
    ends = connection.their_state is h11.MUST_CLOSE or head.method == b"CONNECT"
    upgrades = b"upgrade" in options and any(name == b"upgrade" for name, _ in headers)
    return Request(bytes(head.method), bytes(head.target), headers, body, ends or upgrades)
