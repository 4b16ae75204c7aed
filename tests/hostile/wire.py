"""A client on a raw socket: sends bytes, parses responses, and observes how the connection ends.

Invariants
- Bytes are sent exactly as given, in the packets that the test chooses.
- Every byte received belongs to a final response or is reported as `leftover`.
- The end of a connection is observed, not assumed: closed (FIN), reset (RST) or open.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jwt

from tokensvc.web.overload import MIN_STANDING

SENTINEL_CODE = b"route_not_found"
"""The error code in the response to `messages.SENTINEL`."""
SENTINEL_SECONDS = 0.1
TIMEOUT_SECONDS = 20
FORWARDING_SECONDS = 0.05
"""A proxy forwards what it has read within one iteration of its event loop, which takes less time than this."""
CLOSED, RESET, OPEN = "closed", "reset", "open"


class Address(NamedTuple):
    """Where to connect."""

    host: str
    port: int


class Response(NamedTuple):
    """A final response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        """Whether it announces that the connection will be closed."""
        return self.headers.get("connection", "").lower() == "close"

    @property
    def viewer(self) -> str:
        """The viewer in the claims of the issued token; "" without a token."""
        return viewer_in(self.json["token"]) if self.status == 201 else ""

    @property
    def batch_viewers(self) -> list[str]:
        """The viewers in the claims of the tokens of a batch."""
        return [viewer_in(result["token"]) for result in self.json["results"]]


class Received(NamedTuple):
    """Everything received until the connection ended or became silent."""

    responses: list[Response]
    leftover: bytes
    ending: str

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses]


def viewer_in(token: str) -> str:
    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims.get("aws:viewer-id", ""))


def parse_responses(data: bytes) -> tuple[list[Response], bytes]:
    """The complete final responses at the start of the data, and the remaining data. Informational responses (1xx) are
    skipped. Responses to HEAD are not supported."""
    found: list[Response] = []
    while (parsed := _parse_first(data)) is not None:
        response, data = parsed
        if response.status >= 200:
            found.append(response)
    return found, data


def _parse_first(data: bytes) -> tuple[Response, bytes] | None:
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    status_line, *lines = head.split(b"\r\n")
    version, status, _ = (status_line + b"  ").split(b" ", 2)
    assert version in (b"HTTP/1.1", b"HTTP/1.0"), f"not the start of a response: {data[:200]!r}"
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while True:
            size, newline, after = rest.partition(b"\r\n")
            if not newline or len(after) < int(size, 16) + 2:
                return None
            body, rest = body + after[: int(size, 16)], after[int(size, 16) + 2 :]
            if int(size, 16) == 0:
                return Response(int(status), headers, body), rest
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    return Response(int(status), headers, rest[:length]), rest[length:]


class Connection:
    """One connection of a client."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send everything; False when the other end no longer accepts data."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def finish(self) -> None:
        """Send FIN."""
        with contextlib.suppress(OSError):  # the other end may already have closed the connection
            self.socket.shutdown(socket.SHUT_WR)

    def read_response(self) -> Response:
        """Wait for one final response."""
        while True:
            found, rest = parse_responses(self._data)
            if found:
                first, *others = found
                assert not others, f"more than one response: {found}"
                self._data = rest
                return first
            data = self.socket.recv(65_536)
            assert data, f"the connection was closed without a response; received {self._data!r}"
            self._data += data

    def read_all(self, quiet_seconds: float = TIMEOUT_SECONDS, *, sentinels: int = 1) -> Received:
        """Read until the connection ends or nothing has arrived for `quiet_seconds`. After the response to the
        sentinel, which shows that the connection is still open, SENTINEL_SECONDS are enough. `sentinels` is 2 when
        another response may have the sentinel's code."""
        self.socket.settimeout(quiet_seconds)
        pieces, ending = [self._data], CLOSED
        try:
            while data := self.socket.recv(262_144):
                pieces.append(data)
                if b"".join(pieces).count(SENTINEL_CODE) >= sentinels:
                    self.socket.settimeout(SENTINEL_SECONDS)
        except TimeoutError:
            ending = OPEN
        except ConnectionResetError:
            ending = RESET
        responses, leftover = parse_responses(b"".join(pieces))
        return Received(responses, leftover, ending)


def exchange(address: Address, request: bytes) -> Response:
    """Send one request on a new connection and return its response."""
    with Connection(address) as connection:
        connection.send(request)
        return connection.read_response()


LIVE = b"GET /livez HTTP/1.1\r\nHost: tokens.example\r\n\r\n"


def wait_until_read(address: Address) -> None:
    """Wait until the server (one worker) has read everything that was sent before: it accepts connections in order and
    reads their data in the same iterations of the event loop."""
    for _ in range(2):
        assert exchange(address, LIVE).status == 200


def send_in_parts(entry: Address, parts: Iterable[bytes], service: Address | None = None) -> Received:
    """Send each part once the service has read the previous ones. `entry` is the service or a proxy in front of it.
    Returns everything received until the connection ended."""
    with Connection(entry) as connection:
        for number, part in enumerate(parts):
            if number:
                wait_until_received(entry, service or entry)
            if not connection.send(part):
                break
        return connection.read_all()


def sent_in_two_parts(address: Address, request: bytes) -> Iterator[tuple[int, Connection]]:
    """A connection for each position at which the request can be split: the second part was sent once the service had
    read the first. Few at a time, so that a slow machine is not overloaded."""
    for first in range(1, len(request), MIN_STANDING - 1):
        positions = range(first, min(first + MIN_STANDING - 1, len(request)))
        with contextlib.ExitStack() as stack:
            connections = {at: stack.enter_context(Connection(address)) for at in positions}
            for at, connection in connections.items():
                connection.send(request[:at])
            wait_until_read(address)
            for at, connection in connections.items():
                connection.send(request[at:])
            yield from connections.items()


def wait_until_received(entry: Address, service: Address) -> None:
    """Wait until the service has read what was sent to `entry`; a proxy gets FORWARDING_SECONDS to forward it."""
    if entry != service:
        time.sleep(FORWARDING_SECONDS)
    wait_until_read(service)
