"""httptools' protocol as uvicorn has it, with limits on what a client sends, and a short way for what needs no waiting.

Rules of the file
- A request's head may have 16 KiB, and 2 MiB may follow it; httptools itself would take any amount, and gather a
  trailer without an end.
- Who is slow is not waited for: a connection that is found at the same unfinished request after 75 seconds is closed,
  and so is one that was idle all that time.
- A request that came in whole is offered to the application's `at_once` first, where it has one. What that takes is
  answered in the same turn of the loop, with no task, no message and no coroutine in between: the hot path takes this
  way. Everything else, and whatever comes in pieces, is an ASGI request as ever. Before a connection has anything else
  to do, the turn is ended, so that answers keep their order and none is lost with the connection.
- A client that keeps its connection sends the same head again and again. One that is, byte for byte, the last one's is
  not parsed once more, but everything that it asks for is judged anew: who asks, for what, and whether they may.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tokensvc.web.exchange import AnswersAtOnce
from tokensvc.web.failures import Answer, Headers, plain_refusal

HEAD_MAX_BYTES = 16 * 1024
REST_MAX_BYTES = 2 * 1024 * 1024
"""More than any route's body; what no route reads (chunk extensions, trailers) counts too."""
KEEP_ALIVE_SECONDS = 75
_HEAD = (
    b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\nx-request-id: %s\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n"
)
_CLOSE = b"connection: close\r\n"
_BLANK_LINE = b"\r\n\r\n"
_HEAD_TOO_LARGE = plain_refusal(
    431, "headers_too_large", f"The request line and headers together may have at most {HEAD_MAX_BYTES} bytes."
)
_TOO_LARGE = plain_refusal(413, "request_too_large", f"A request may have at most {REST_MAX_BYTES} bytes.")
_NOT_HTTP = plain_refusal(400, "unreadable_request", "The request is not valid HTTP/1.1.")
_STATUS_LINES = {400: b"400 Bad Request", 413: b"413 Content Too Large", 431: b"431 Request Header Fields Too Large"}


class Protocol(HttpToolsProtocol):
    """One connection."""

    _bytes = 0
    """What arrived since the last head, or the last request, was whole."""
    _in_body = False
    _held = False
    """The head is whole and the body may be in a moment; uvicorn was not told of the request yet."""
    _body = b""
    """The body of a request that is held."""
    _begun = False
    """Something of a request came in that is not whole yet."""
    _awaits = False
    """A request was taken, and its answer is to come."""
    _stays = True
    """The connection outlasts that answer."""
    _was_taken = False
    """The last request was taken by `at_once`, and the connection stays."""
    _last_head = b""
    """The head of the last request, while all that ever came in after the one before it was this head and its body, and
    it was taken at once; else empty."""
    _last_bytes = 0
    """How long it was, with its body."""
    _requests = 0
    """How many came in whole."""
    _refused = False
    _watch: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._quick: AnswersAtOnce | None = self.app if hasattr(self.app, "at_once") else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._watch = self.loop.call_later(KEEP_ALIVE_SECONDS, self._look, -1)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.cancel()

    def eof_received(self) -> None:
        self._end_turn()
        super().eof_received()

    def shutdown(self) -> None:
        self._end_turn()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._last_head and self._taken_like_the_last(data):
            return
        begun, self._last_head = self._begun, b""
        self._bytes += len(data)
        super().data_received(data)
        if self._held:
            self._release()
        if self._bytes > HEAD_MAX_BYTES and not self._in_body:
            self._refuse(_HEAD_TOO_LARGE)
        elif self._bytes > REST_MAX_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._was_taken and not begun:
            self._remember(data)

    def on_message_begin(self) -> None:
        self._begun, self._was_taken = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end_turn()
        arrived, self._bytes, self._in_body = self._bytes, 0, True
        if arrived > HEAD_MAX_BYTES and self._head_bytes() > HEAD_MAX_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        elif arrived <= HEAD_MAX_BYTES and self._may_be_answered_at_once():
            self._held, self._body = True, b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held:
            self._body += body
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._requests += 1
        self._bytes, self._in_body, self._begun = 0, False, False
        if self._held:
            self._answer()
        elif not self._refused:
            super().on_message_complete()
            self.cycle.more_body = False  # uvicorn leaves it set when the answer was there first

    def _may_be_answered_at_once(self) -> bool:
        """Whether nothing stands before this request, and nothing is asked for but an answer."""
        return (
            self._quick is not None
            and (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        )

    def _release(self) -> None:
        """Let a request that was held go the long way."""
        self._held = False
        super().on_headers_complete()
        super().on_body(self._body)

    def _answer(self) -> None:
        """Answer a whole request at once, or let it go the long way."""
        scope, parser = self.scope, self.parser
        scope["path"], scope["method"] = self.url.decode("ascii"), parser.get_method().decode("ascii")
        stays = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        if self._taken(self._body, stays=stays):
            self._held, self._was_taken = False, stays
        else:
            self._release()
            super().on_message_complete()

    def _remember(self, data: bytes) -> None:
        """Keep the head of the request that ended these bytes for the next one, given that it and its body were all of
        them: then nothing was sent in chunks, and whatever begins with the same head has a body of the same length."""
        head = data[: data.find(_BLANK_LINE) + len(_BLANK_LINE)]
        if len(head) + len(self._body) == len(data):
            self._last_head, self._last_bytes = head, len(data)

    def _taken_like_the_last(self, data: bytes) -> bool:
        """Take at once what differs from the last request in its body alone. A head holds its caller's secret, so it
        is compared in constant time."""
        head = self._last_head
        if len(data) != self._last_bytes or self.flow.write_paused:
            return False
        if not hmac.compare_digest(data[: len(head)], head):
            return False
        self._end_turn()
        if not self._taken(data[len(head) :], stays=True):
            return False
        self._requests += 1
        return True

    def _taken(self, body: bytes, *, stays: bool) -> bool:
        """Offer the request whose head `scope` is to the application's `at_once`, when none is awaited any more."""
        if self._quick is None or self.transport.is_closing():
            return False
        self._awaits, self._stays = True, stays
        if not self._quick.at_once(self.scope, body, self._reply):  # type: ignore[arg-type] # a mapping all the same
            self._awaits = False
            return False
        return True

    def _reply(self, answer: Answer, request_id: str) -> None:
        """Send the answer to what was taken."""
        self._awaits = False
        if self.transport.is_closing():
            return
        end = b"" if self._stays else _CLOSE
        self.transport.write(
            b"%b%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
            % (
                STATUS_LINE[answer.status],
                _lines(answer.headers),
                _lines(tuple(self.server_state.default_headers)),
                end,
                len(answer.body),
                request_id.encode(),
                answer.body,
            )
        )
        self.server_state.total_requests += 1
        if not self._stays:
            self.transport.close()

    def _end_turn(self) -> None:
        """Have the request that was taken answered, if there is one."""
        if self._awaits and self._quick is not None:
            self._quick.end_turn()

    def on_response_complete(self) -> None:
        """As uvicorn does, but without a timer of its own for each request: `_look` sees who is idle."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def _look(self, requests: int) -> None:
        """Close the connection when no request came in whole since the last time, and none is being answered."""
        answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if requests == self._requests and not answering:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(KEEP_ALIVE_SECONDS, self._look, self._requests)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not ours
        self._refuse(_NOT_HTTP)

    def _refuse(self, answer: Answer) -> None:
        self._end_turn()
        self._refused = True
        if not self.transport.is_closing():
            request_id = secrets.token_hex(8).encode()
            head = _HEAD % (_STATUS_LINES[answer.status], request_id, len(answer.body))
            self.transport.write(head + answer.body)
            self.transport.close()


@lru_cache(maxsize=64)
def _lines(headers: Headers) -> bytes:
    """Headers as they are sent. There are few, again and again: each route's own, and the date of a second."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)
