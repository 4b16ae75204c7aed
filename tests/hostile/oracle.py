"""h11's reading of a byte stream, to compare the service's with.

Invariants
- Each request is read by a connection of its own, so that h11's rules on connections are not in the way of its reading.
- Blank lines before a request are skipped, which RFC 9112 (2.2) asks of servers and h11 does not do.
- Several spaces in a request line count as one, which RFC 9112 (3) allows and h11 does not.
- Trailers are left out.
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
    """Whether nothing that follows is a request: the client closes, or asks for another protocol."""


class Reading(NamedTuple):
    """The complete requests at the beginning of a stream, up to the first that ends the connection."""

    requests: list[Request]
    refuses: bool
    """Whether h11 refuses what follows them; otherwise it is incomplete, or nothing."""


def read(stream: bytes) -> Reading:
    found: list[Request] = []
    while stream := stream.lstrip(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=INCOMPLETE_MAX_BYTES)
        line, newline, rest = stream.partition(b"\r\n")
        connection.receive_data(re.sub(rb" +", b" ", line) + newline + rest)
        try:
            request = _next(connection)
        except h11.RemoteProtocolError:
            return Reading(found, refuses=True)
        if request is None:
            break
        found.append(request)
        if request.ends_connection:
            break
        stream, _ = connection.trailing_data
    return Reading(found, refuses=False)


def _next(connection: h11.Connection) -> Request | None:
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
