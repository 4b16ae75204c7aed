"""Raw sockets for a test: bytes out, responses in, and how the connection ended.

Invariants
- Nothing is corrected or completed: what a test sends is what is sent, in the packets that the test chose.
- Every byte received is accounted for: it belongs to a final response or is reported as `leftover`.
- The end of a connection is observed, not assumed: closed (FIN), reset (RST) or open.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jwt

SENTINELS_CODE = b"route_not_found"
SENTINEL_SECONDS = 0.1
TIMEOUT_SECONDS = 20
PROXY_SECONDS = 0.05
"""A proxy passes on what it has read within the same turn of its loop."""
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
        """Whether it announces that the connection ends with it."""
        return self.headers.get("connection", "").lower() == "close"

    @property
    def viewer(self) -> str:
        """The viewer in the claims of the token that it grants; "" when it grants none."""
        return viewer_in(self.json["token"]) if self.status == 201 else ""

    @property
    def batch_viewers(self) -> list[str]:
        """The viewers in the claims of the tokens of a batch."""
        return [viewer_in(result["token"]) for result in self.json["results"]]


class Received(NamedTuple):
    """All that came in until the connection ended, or was silent."""

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
    """The complete final responses at the beginning of the data, and the rest. Informational ones (1xx) are skipped.
    None may answer HEAD."""
    found: list[Response] = []
    while (parsed := _first(data)) is not None:
        response, data = parsed
        if response.status >= 200:
            found.append(response)
    return found, data


def _first(data: bytes) -> tuple[Response, bytes] | None:
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    status_line, *lines = head.split(b"\r\n")
    version, status, _ = (status_line + b"  ").split(b" ", 2)
    assert version in (b"HTTP/1.1", b"HTTP/1.0"), f"not the beginning of a response: {data[:200]!r}"
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
        """Send everything; False when the other end no longer takes it."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def finish(self) -> None:
        """Say that nothing follows: FIN."""
        with contextlib.suppress(OSError):  # the other end may have closed already
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

    def read_all(self, quiet_seconds: float = TIMEOUT_SECONDS) -> Received:
        """Read until the connection ends, or nothing has come for that long; for a moment behind the sentinel's
        answer, which shows that the connection went on."""
        self.socket.settimeout(quiet_seconds)
        pieces, ending = [self._data], CLOSED
        try:
            while data := self.socket.recv(262_144):
                pieces.append(data)
                if SENTINELS_CODE in data:
                    self.socket.settimeout(SENTINEL_SECONDS)
        except TimeoutError:
            ending = OPEN
        except ConnectionResetError:
            ending = RESET
        responses, leftover = parse_responses(b"".join(pieces))
        return Received(responses, leftover, ending)


def exchange(address: Address, request: bytes) -> Response:
    """One request on a connection of its own, and its response."""
    with Connection(address) as connection:
        connection.send(request)
        return connection.read_response()


LIVE = b"GET /livez HTTP/1.1\r\nHost: tokens.example\r\n\r\n"


def settle(address: Address) -> None:
    """Return when the server (one worker) has read all that was sent to it before: connections are accepted in order
    and their data is read in the same turns of the loop."""
    for _ in range(2):
        assert exchange(address, LIVE).status == 200


def send_in_parts(entry: Address, parts: Iterable[bytes], service: Address | None = None) -> Received:
    """Send each part once the service, which may be behind the entry, has read those before it; what came back until
    the connection ended."""
    with Connection(entry) as connection:
        for number, part in enumerate(parts):
            if number:
                pause(entry, service or entry)
            if not connection.send(part):
                break
        return connection.read_all()


def pause(entry: Address, service: Address) -> None:
    """Let the service read what was sent before, by itself; a proxy has a moment to pass it on."""
    if entry != service:
        time.sleep(PROXY_SECONDS)
    settle(service)
