"""A real HTTP server that does what a test says, request by request: respond, respond wrongly, stall, or hang up."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

HangUp: TypeAlias = Callable[[socket.socket], None]
Reply: TypeAlias = bytes | HangUp


class ReceivedRequest(NamedTuple):
    """A request as it arrived. The names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    """The number of its connection."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http_response(
    status: int, body: object = None, headers: Mapping[str, str] | None = None, *, date: bool = True
) -> bytes:
    """A response; a body that is not bytes is JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    fields = {"content-length": str(len(content)), "content-type": "application/json"}
    if date:
        fields["date"] = "Sat, 21 Nov 2026 10:00:00 GMT"
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in (fields | dict(headers or {})).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def problem(status: int, code: str, headers: Mapping[str, str] | None = None, **members: object) -> bytes:
    """Problem details as a response."""
    return http_response(status, {"status": status, "code": code, "detail": "What happened"} | members, headers)


def reset(connection: socket.socket) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # even if a stream of the connection is open


class ScriptedServer:
    """Sends the replies in turn, over all connections, and the last one again and again."""

    def __init__(self, *replies: Reply | Callable[[ReceivedRequest], bytes], tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[ReceivedRequest] = []
        self._replies = list(replies)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def stopped(self) -> threading.Event:
        """Set at the end of the test: a reply that stalls waits for it."""
        return self._stopped

    def stop(self) -> None:
        self._stopped.set()
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                number = len(self._connections)
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls is None:
                self._serve_requests(connection, number)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                    self._serve_requests(encrypted, number)

    def _serve_requests(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb") as stream:
            while (line := stream.readline()) and not self._stopped.is_set():
                method, target, _ = line.decode().split(" ")
                headers = dict(_header_lines(iter(stream.readline, b"\r\n")))
                body = stream.read(int(headers.get("content-length", "0")))
                request = ReceivedRequest(method, target, headers, body, number)
                with self._lock:
                    self.requests.append(request)
                    reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                self._reply(connection, request, reply)

    def _reply(self, connection: socket.socket, request: ReceivedRequest, reply: Any) -> None:
        if isinstance(reply, bytes):
            connection.sendall(reply)
        elif getattr(reply, "takes_connection", False) or reply is reset:
            reply(connection)
        else:
            connection.sendall(reply(request))


def on_connection(reply: HangUp) -> HangUp:
    """Mark a reply that writes to the connection itself."""
    reply.takes_connection = True  # type: ignore[attr-defined] # a mark that the server looks for
    return reply


def _header_lines(lines: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        yield name.lower(), value.strip()


@contextlib.contextmanager
def scripted_server(
    *replies: Reply | Callable[[ReceivedRequest], bytes], tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedServer]:
    """A server for the time of the block."""
    server = ScriptedServer(*replies, tls=tls)
    try:
        yield server
    finally:
        server.stop()
