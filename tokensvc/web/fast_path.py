"""Responds to a connection's requests without a task: to complete requests, and to repeated heads without parsing.

Invariants
- The application is offered a request only when its body is complete, its head names no content coding, and no earlier
  response of the connection is still due from a task. An accepted request is answered in the same iteration of the
  event loop, in order.
- A client that keeps its connection sends the same head again and again. A head that equals the last one is not parsed
  again, but everything that it requests is decided again: authentication, authorization and limits.
- A head contains its caller's secret, so it is compared in constant time.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import lru_cache

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from tokensvc.http.problem_details import Headers, Response
from tokensvc.web.context import NowaitApplication


class FastPath:
    """The fast path of one connection."""

    __slots__ = ("_app", "_close", "_flow", "_head", "_keep_alive", "_length", "_scope", "_state", "_write", "pending")

    def __init__(
        self,
        app: NowaitApplication,
        state: ServerState,
        flow: FlowControl,
        write: Callable[[bytes], object],
        close: Callable[[], object],
    ) -> None:
        self._app = app
        self._state = state
        self._flow = flow
        self._write = write
        self._close = close
        self._keep_alive = True
        self._head = b""
        """The head of the last request if nothing else arrived with that request, otherwise empty."""
        self._length = 0
        """The length of that request, body included."""
        self._scope: Scope = {}
        self.pending = False
        """Whether an accepted request still waits for its response."""

    def offer(self, scope: Scope, body: bytes, *, keep_alive: bool) -> bool:
        """Offer a complete request to the application. True when it was accepted."""
        if self._flow.write_paused:
            return False
        self.flush()
        self.pending, self._keep_alive = True, keep_alive
        if not self._app.handle_nowait(scope, body, self._reply):
            self.pending = False
            return False
        return True

    def remember(self, head: bytes, length: int, scope: Scope) -> None:
        """Accept later requests of this length that start with this head without parsing them."""
        self._head, self._length, self._scope = head, length, scope

    def forget(self) -> None:
        """Have the next head parsed, whatever it is."""
        self._head = b""

    def accept_repeated(self, data: bytes) -> bool:
        """Accept a request that differs from the last one only in its body. False when it has to be parsed."""
        head = self._head
        if not head or len(data) != self._length or not hmac.compare_digest(data[: len(head)], head):
            return False
        return self.offer(self._scope, data[len(head) :], keep_alive=True)

    def flush(self) -> None:
        """Respond now to the accepted request, if there is one."""
        if self.pending:
            self._app.flush()

    def _reply(self, response: Response, request_id: str) -> None:
        self.pending = False
        self._write(response_bytes(response, request_id, self._state.default_headers, close=not self._keep_alive))
        self._state.total_requests += 1
        if not self._keep_alive:
            self._close()


def response_bytes(
    response: Response, request_id: str, default_headers: list[tuple[bytes, bytes]], *, close: bool
) -> bytes:
    """A complete response as it is sent."""
    return b"%b%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (
        STATUS_LINE[response.status],
        _lines(response.headers),
        _lines(tuple(default_headers)),
        b"connection: close\r\n" if close else b"",
        len(response.body),
        request_id.encode(),
        response.body,
    )


@lru_cache(maxsize=64)
def _lines(headers: Headers) -> bytes:
    """Header lines as they are sent. Few differ: those of each route, and the date of each second."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)
