"""One HTTP/1.1 connection: httptools parses the grammar, and two state tables decide what may happen next.

    reading     IDLE -> HEAD -> BUFFERING -> (STREAMING ->) IDLE -> ... -> ENDED
    responding  READY -> TASK -> READY -> ... -> CLOSED

Invariants
- The parser is fed one section at a time: a head, a body of known length, or chunks up to a blank line. So no call of
  the parser can begin one request and complete another, and parsing can stop between any two calls.
- Responses leave in the order of their requests. The response to input that cannot be parsed follows those that are
  still due, and is the last: an accepted request is answered whatever follows it, the end of the input included.
- Memory and the time spent on one connection are bounded. Parsing stops while MAX_QUEUED requests or MAX_QUEUED_BYTES
  of their bodies wait, and after MAX_QUEUED requests or MAX_SECTIONS in one iteration of the event loop. Nothing is
  read from the socket while input waits to be parsed.
- `Upgrade` is ignored, as RFC 9110, section 7.8 allows: the request is parsed again without it, body included, and is
  the last of its connection.
- Nothing that arrives after a head changes it: trailers are dropped.
- A client has KEEP_ALIVE_SECONDS to complete a request, and as long to read its responses.
- A connection whose client may still be sending is not reset: its output ends first, and what arrives within
  LINGER_SECONDS is discarded, so that the client can read the last response (RFC 9112, section 9.6).

The task side of a request is uvicorn's own (`request_cycle.py`). tests/web/test_uvicorn_contract.py lists everything
of uvicorn that this relies on, and tests/web/test_uvicorn_differences.py every intended difference in behaviour.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Any

import httptools
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from tokensvc.http.problem_details import Response
from tokensvc.log import exception_fields, structlog
from tokensvc.web.fast_path import FastPath, response_bytes
from tokensvc.web.open_connections import ConnectionState, has_unread_bytes
from tokensvc.web.request_cycle import CycleTransport, Flow, disconnect, new_cycle
from tokensvc.web.request_head import (
    ENCODED_BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    HEAD_TOO_LARGE,
    HTTP_1_1,
    NOT_HTTP,
    TOO_LARGE,
    InvalidHead,
    read_head,
)

KEEP_ALIVE_SECONDS = 75
LINGER_SECONDS = 2
LINGER_MAX_BYTES = 8 * 1024 * 1024
"""More than most clients send in that time; a client that is cut off may lose its response."""
MAX_QUEUED = 32
"""Requests of one connection that wait for earlier ones."""
MAX_QUEUED_BYTES = 64 * 1024
"""For the bodies of those requests together, and for the unread part of a body that a task reads."""
MAX_SECTIONS = 1024
"""Parsed for one connection in one iteration of the event loop: a body can be cut into very many chunks."""
MAX_UNPARSED_BYTES = 256 * 1024
"""More than one read from the socket returns; a transport that keeps reading after it was paused is aborted."""
_BLANK_LINE = b"\r\n\r\n"
_LINE_ENDS = b"\r\n"
_NOT_LINE_END = re.compile(rb"[^\r\n]|\Z")
"""Empty lines before a request line are ignored (RFC 9112, section 2.2)."""

_log = structlog.get_logger(__name__)


class Reading(IntEnum):
    """What the next byte from the client belongs to."""

    IDLE = auto()
    """The next request, if there is one."""
    HEAD = auto()
    """The head of a request, parts of which have arrived."""
    BUFFERING = auto()
    """A body that may be complete within the data at hand; until then the application does not see the request."""
    STREAMING = auto()
    """A body whose request is handled by a task, or waits for one."""
    ENDED = auto()
    """Nothing: the input has ended, and what still arrives is discarded."""


class Input(IntEnum):
    """Events of the reading side."""

    REQUEST_STARTED = auto()
    UPGRADE_IGNORED = auto()
    """The head is parsed again as that of a plain request."""
    HEAD_COMPLETE = auto()
    BODY_INCOMPLETE = auto()
    """The data at hand ends before the body does, or the request is not eligible for the fast path."""
    MESSAGE_COMPLETE = auto()
    INPUT_OVER = auto()
    """The client closed it, the request was the last, the input cannot be parsed further, or the server stops."""


IDLE, HEAD, BUFFERING, STREAMING, ENDED = Reading
REQUEST_STARTED, UPGRADE_IGNORED, HEAD_COMPLETE, BODY_INCOMPLETE, MESSAGE_COMPLETE, INPUT_OVER = Input
# Module-level names: looking up an enumeration member costs ten times as much, and a request needs thirty lookups.

READING: Mapping[Reading, Mapping[Input, Reading]] = {
    IDLE: {REQUEST_STARTED: HEAD, INPUT_OVER: ENDED},
    HEAD: {
        UPGRADE_IGNORED: IDLE,
        HEAD_COMPLETE: BUFFERING,
        INPUT_OVER: ENDED,
    },
    BUFFERING: {
        BODY_INCOMPLETE: STREAMING,
        MESSAGE_COMPLETE: IDLE,
        INPUT_OVER: ENDED,
    },
    STREAMING: {MESSAGE_COMPLETE: IDLE, INPUT_OVER: ENDED},
    ENDED: {INPUT_OVER: ENDED},
}


class Responding(IntEnum):
    """What writes the next response. The fast path writes only in READY, and is flushed before that changes."""

    READY = auto()
    TASK = auto()
    """The task of the oldest request without a complete response."""
    CLOSED = auto()
    """Nothing: the last response was written."""


class Output(IntEnum):
    """Events of the responding side."""

    TASK_STARTED = auto()
    RESPONSE_COMPLETE = auto()
    TASK_ABANDONED = auto()
    """Its request turned out to be invalid before its response started."""
    OUTPUT_OVER = auto()


READY, TASK, CLOSED = Responding
TASK_STARTED, RESPONSE_COMPLETE, TASK_ABANDONED, OUTPUT_OVER = Output

RESPONDING: Mapping[Responding, Mapping[Output, Responding]] = {
    READY: {TASK_STARTED: TASK, OUTPUT_OVER: CLOSED},
    TASK: {RESPONSE_COMPLETE: READY, TASK_ABANDONED: READY, OUTPUT_OVER: CLOSED},
    CLOSED: {},
}


class Protocol(asyncio.Protocol):
    """One connection. The constructor and `shutdown` are what uvicorn's server calls."""

    extensions: Mapping[str, Any] | None = None
    """ASGI extensions that the server offers (`http/abort_connection.py`)."""

    def __init__(
        self,
        config: Config,
        server_state: ConnectionState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.loop = _loop or asyncio.get_running_loop()
        self._app: Any = config.loaded_app
        self._state = server_state
        self._app_state = app_state
        self._parser = httptools.HttpRequestParser(self)
        self._fast: FastPath | None = None
        self._reading = IDLE
        self._responding = READY
        self._active: RequestResponseCycle | None = None
        """The request that a task is handling."""
        self._waiting: deque[RequestResponseCycle | Response] = deque()
        """The requests after it, and finally the response to invalid input."""
        self._received: RequestResponseCycle | None = None
        """The request whose body is arriving (STREAMING)."""
        self._unparsed, self._parsed_to = b"", 0
        """Data that waits for earlier responses, and how far it has been parsed."""
        self._parse_scheduled = False
        self._input_closed = False
        """The client closed its side; unparsed data may still contain requests."""
        self._head = b""
        """The part of the current head that the parser has been fed."""
        self._may_be_sending = False
        """The client may still be sending although the input has ended: an invalid request, or further ones."""
        self._section_end = b""
        """The last bytes of incomplete chunks, where a blank line may start."""
        self._bytes = 0
        """The size of the current head, or of what followed it."""
        self._body_left: int | None = 0
        """Bytes of the body that have not arrived; None for a chunked body."""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._scope: Scope = {}
        self._body: list[bytes] = []
        """The parts of a body that is buffered."""
        self._keep_alive = True
        self._expects_continue = False
        self._upgrade_offered = False
        self._has_trailers = False
        self._head_since = 0.0
        """When the current head began to arrive, by the event loop's clock."""
        self._requests = 0
        """The number of requests that arrived completely."""
        self._fast_path_taken = False
        """The fast path accepted the last of them."""
        self._watchdog: asyncio.TimerHandle | None = None
        self._progress = (0, False, 0)
        """At the last check: complete requests, whether one was arriving, and bytes that the client had not read."""

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # always a stream here
        self._state.connections.add(self)  # type: ignore[arg-type] # uvicorn lists its own protocols; `shutdown` is all it needs
        self._state.by_use[self] = None
        self.transport = transport
        self._flow = Flow(transport)
        self._server = get_local_addr(transport)
        self._client = get_remote_addr(transport)
        self._scheme = "https" if is_ssl(transport) else "http"
        if hasattr(self._app, "handle_nowait"):
            self._fast = FastPath(self._app, self._state, self._flow, self._write, self._end_output)
        self._watchdog = self.loop.call_later(KEEP_ALIVE_SECONDS, self._check_progress)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop calls it so
        self._state.connections.discard(self)
        self._state.by_use.pop(self, None)
        self._forget_head()
        self._reading = READING[self._reading][INPUT_OVER]
        for cycle in (self._active, self._received):
            if cycle is not None:
                disconnect(cycle)
        self._waiting.clear()
        self._defer_parsing(b"")
        self._flow.resume_writing()
        if self._watchdog is not None:
            self._watchdog.cancel()

    def pause_writing(self) -> None:
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        self._flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        fast = self._fast
        if fast is not None:
            if fast.accept_repeated(data):
                self._requests += 1
                self._state.by_use.move_to_end(self)
                return
            fast.forget()
        if self._reading is ENDED:
            self._discard(len(data))
        elif self._unparsed:
            self._defer_parsing(self._unparsed[self._parsed_to :] + data)
            if len(self._unparsed) > MAX_UNPARSED_BYTES:
                self.transport.abort()
        else:
            self._parse(data)

    def _discard(self, length: int) -> None:
        """Ignore what arrives after the end of the input, and close on a client that never stops sending."""
        self._bytes += length
        if self._responding is CLOSED and self._bytes > LINGER_MAX_BYTES:
            self.transport.close()

    def eof_received(self) -> bool:
        """Respond to the complete requests, then close."""
        self._flush()
        self._forget_head()
        self._input_closed = True
        if not self._unparsed:
            self._end_input()
        return not self.transport.is_closing()

    def shutdown(self) -> None:
        """Close once the received requests have their responses. The server calls this when it stops."""
        self._flush()
        self._forget_head()
        self._keep_alive = False
        if self._reading in (IDLE, HEAD):
            self._defer_parsing(b"")  # not within a body: reading it on would miss a part
            self._reading = READING[self._reading][INPUT_OVER]
        last = self._waiting[-1] if self._waiting else self._active
        if self._responding is not TASK:
            self._end_output()
        elif isinstance(last, RequestResponseCycle):
            last.keep_alive = False

    def is_idle(self, head_seconds: float) -> bool:
        """Whether nothing of the client's is in flight: it owes the next request, or the rest of a head for longer than
        so."""
        if self._reading is HEAD:
            waits = self.loop.time() - self._head_since > head_seconds
        else:
            waits = self._reading is IDLE and not self._unparsed
        return (
            waits
            and self._responding is READY
            and not (self._fast is not None and self._fast.pending)
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
            and (self._reading is HEAD or not has_unread_bytes(self.transport))
        )

    def close_idle(self) -> None:
        """Close a connection with nothing in flight. An incomplete head gets no response."""
        self._forget_head()
        if self._reading is HEAD:
            self.transport.abort()
        else:
            self.transport.close()

    # Parsing

    def _parse(self, data: bytes, position: int = 0) -> None:
        """Parse to the end of the data, or until it has to wait for responses or for other connections."""
        requests, sections, length = self._requests, 0, len(data)
        from_the_start = position == 0 and self._reading is IDLE
        self._fast_path_taken = False
        while position < length and self._reading is not ENDED:
            if self._reading is IDLE:
                if data[position] in _LINE_ENDS:
                    position = _NOT_LINE_END.search(data, position).start()  # type: ignore[union-attr] # matches the end
                    continue
                if self._must_wait(self._requests - requests):
                    self._defer_parsing(data, position)
                    return
            elif sections == MAX_SECTIONS:
                if self._reading is BUFFERING:
                    self._stream()
                self._defer_parsing(data, position)
                self._schedule_parsing()
                return
            sections += 1
            position = self._parse_section(data, position)
        if self._unparsed:
            self._defer_parsing(b"")
        if self._reading is BUFFERING:
            self._stream()
        elif self._fast_path_taken and from_the_start and self._requests == requests + 1:
            self._remember_head(data)
        if self._input_closed:
            self._end_input()

    def _must_wait(self, parsed: int) -> bool:
        """Whether the next request has to wait, for a response or for the next iteration of the event loop."""
        if self._responding is TASK:
            waiting = self._waiting
            if len(waiting) >= MAX_QUEUED or self._flow.write_paused:
                return True
            if waiting and sum(len(entry.body) for entry in waiting) > MAX_QUEUED_BYTES:
                return True
        if parsed >= MAX_QUEUED:
            self._schedule_parsing()
            return True
        return False

    def _defer_parsing(self, data: bytes, position: int = 0) -> None:
        """Parse `data` later, from `position` on, and read nothing until then. Empty data: nothing is left to parse."""
        self._unparsed, self._parsed_to = data, position
        self._update_hold()
        if data:
            self._flow.pause_reading()

    def _update_hold(self) -> None:
        """Hold reading while input waits to be parsed, or enough of a body has arrived that no task reads yet."""
        cycle = self._received
        self._flow.reading_held = bool(self._unparsed) or (
            cycle is not None
            and cycle is not self._active
            and not cycle.response_complete
            and len(cycle.body) > MAX_QUEUED_BYTES
        )

    def _schedule_parsing(self) -> None:
        if not self._parse_scheduled:
            self._parse_scheduled = True
            self.loop.call_soon(self._parse_deferred)

    def _parse_deferred(self) -> None:
        """Parse the deferred data; resume reading when none is left."""
        self._parse_scheduled = False
        if self.transport.is_closing() or self._reading is ENDED:
            return
        if self._unparsed:
            self._parse(self._unparsed, self._parsed_to)
        if not self._unparsed:
            self._flow.resume_reading()

    def _parse_section(self, data: bytes, position: int) -> int:
        """Feed the parser up to the end of a section or of the data. Returns the position after it."""
        if self._reading is IDLE:
            self._head = b""
        if self._reading is IDLE or self._reading is HEAD:
            end = _end_of_section(self._head[-3:] if self._head else b"", data, position)
            stop = len(data) if end < 0 else end
            piece = data[position:stop]
            self._head += piece
            self._bytes = len(self._head)
            if self._bytes > HEAD_MAX_BYTES:
                self._reject(HEAD_TOO_LARGE)
                return stop
        else:
            if self._body_left is None:
                end = _end_of_section(self._section_end, data, position)
                stop = len(data) if end < 0 else end
                self._section_end = b"" if end >= 0 else (self._section_end + data[position:])[-3:]
            else:
                stop = min(position + self._body_left, len(data))
                self._body_left -= stop - position
            piece = data[position:stop]
            self._bytes += len(piece)
            if self._bytes > ENCODED_BODY_MAX_BYTES:
                self._reject(TOO_LARGE)
                return stop
        self._may_be_sending = stop < len(data)
        self._feed(piece)
        return stop

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            if self._upgrade_offered:
                self._parse_without_upgrade()
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError:
            self._reject(NOT_HTTP)

    def _parse_without_upgrade(self) -> None:
        """Parse the current head again as that of a plain request, which then determines how its body is framed."""
        method, url, headers = self._parser.get_method(), self._url, self._headers
        version = self._parser.get_http_version().encode()
        lines = b"".join(b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade")
        self._parser = httptools.HttpRequestParser(self)
        self._reading = READING[self._reading][UPGRADE_IGNORED]
        self._head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version, lines)
        self._feed(self._head)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        self._reading = READING[self._reading][REQUEST_STARTED]
        self._url, self._headers, self._body = b"", [], []
        self._head_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is HEAD:
            self._headers.append((name.lower(), value))
        else:
            self._has_trailers = True

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method().decode("ascii")
        if parser.should_upgrade() and method != "CONNECT":
            self._upgrade_offered = True
            return
        line_end = self._head.find(b"\r\n")
        version = self._head[line_end - len(HTTP_1_1) : line_end]
        self._reading = READING[self._reading][HEAD_COMPLETE]
        self._bytes = 0
        try:
            head = read_head(version, method, self._url, self._headers)
        except InvalidHead as error:
            self._reject(error.response)
            return
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if version == HTTP_1_1 else "1.0",
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "method": method,
            "root_path": "",
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        if self.extensions is not None:
            self._scope["extensions"] = self.extensions
        self._body_left = head.body_bytes
        self._expects_continue = head.expects_continue
        if version != HTTP_1_1 or self._upgrade_offered or not parser.should_keep_alive():
            self._keep_alive = False
        if head.expects_continue or head.is_coded or self._fast is None or self._responding is not READY:
            self._stream()

    def on_body(self, body: bytes) -> None:
        cycle = self._received
        if self._reading is BUFFERING:
            self._body.append(body)
        elif cycle is not None and not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > MAX_QUEUED_BYTES:
                self._update_hold()
                self._flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._reading not in (BUFFERING, STREAMING):
            return  # rejected, or to be parsed again without its upgrade
        if self._has_trailers:  # the old parser would let a Connection or a Content-Length among them count
            self._parser, self._has_trailers = httptools.HttpRequestParser(self), False
        buffered = self._reading is BUFFERING
        cycle, self._received = self._received, None
        self._requests += 1
        self._state.used(self)
        self._bytes = 0
        self._reading = READING[self._reading][MESSAGE_COMPLETE]
        if not self._keep_alive:
            self._reading = READING[self._reading][INPUT_OVER]
        if buffered:
            self._fast_path_taken = self._offer_to_fast_path()
            if self._fast_path_taken:
                return
            cycle = self._start_cycle()
        if cycle is not None:
            cycle.more_body = False
            cycle.message_event.set()

    def _offer_to_fast_path(self) -> bool:
        """Offer the buffered request to the fast path. True when it was accepted."""
        fast = self._fast
        return fast is not None and fast.offer(self._scope, b"".join(self._body), keep_alive=self._keep_alive)

    def _remember_head(self, data: bytes) -> None:
        """Remember the head of the request that was just accepted, if head and body are all of the data: then the body
        was not chunked, and any request with the same head has a body of the same length."""
        length = len(self._head) + sum(map(len, self._body))
        if self._fast is not None and self._keep_alive and length == len(data):
            self._fast.remember(self._head, len(data), self._scope)

    # Responding

    def _stream(self) -> None:
        """Hand the arriving request to a task before its body is complete, now or after the earlier requests."""
        self._reading = READING[self._reading][BODY_INCOMPLETE]
        self._received = self._start_cycle()

    def _start_cycle(self) -> RequestResponseCycle:
        """Hand a request to a task of its own, now or after the earlier requests."""
        self._flush()
        cycle = new_cycle(
            self._scope,
            b"".join(self._body),
            CycleTransport(self._write, self._end_output_of, self.transport.is_closing),
            self._flow,
            self._state.default_headers,
            self._on_response_complete,
            expects_continue=self._expects_continue,
            keep_alive=self._keep_alive,
        )
        self._enqueue(cycle)
        return cycle

    def _enqueue(self, entry: RequestResponseCycle | Response) -> None:
        self._waiting.append(entry)
        if self._responding is READY:
            self._respond_next()

    def _respond_next(self) -> None:
        entry = self._waiting.popleft()
        if isinstance(entry, Response):
            request_id = secrets.token_hex(8)
            self._write(response_bytes(entry, request_id, self._state.default_headers, close=True))
            self._end_output()
            return
        self._responding = RESPONDING[self._responding][TASK_STARTED]
        self._active = entry
        self._update_hold()
        task = self.loop.create_task(entry.run_asgi(self._app))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)

    def _on_response_complete(self) -> None:
        """Called by a cycle when it has written its response, after closing the connection if that was the last."""
        self._state.total_requests += 1
        self._state.used(self)
        if self._responding is CLOSED:
            return
        self._responding = RESPONDING[self._responding][RESPONSE_COMPLETE]
        self._active = None
        self._advance()

    def _advance(self) -> None:
        """Continue after a response: with the next one, with parsing, or with the end of the connection."""
        if self.transport.is_closing():
            return
        if self._waiting:
            self._respond_next()
        elif self._reading is ENDED and not self._unparsed:
            self._end_output()
        if self._unparsed:
            self._schedule_parsing()
        else:
            self._flow.resume_reading()

    def _reject(self, response: Response) -> None:
        """Stop reading. `response` is the last one, and replaces that of a request that was still arriving."""
        self._flush()
        self._may_be_sending = True
        cycle, self._received = self._received, None
        self._reading = READING[self._reading][INPUT_OVER]
        self._defer_parsing(b"")
        if cycle is not None:
            disconnect(cycle)
            if cycle.response_started:
                self._end_output()
                return
            if cycle is self._active:
                self._active = None
                self._responding = RESPONDING[self._responding][TASK_ABANDONED]
            else:
                self._waiting.remove(cycle)
        self._enqueue(response)

    def _end_input(self) -> None:
        """The client sends no more. An incomplete request gets no response."""
        self._flush()
        cycle, self._received = self._received, None
        self._reading = READING[self._reading][INPUT_OVER]
        if cycle is not None:
            disconnect(cycle)
            if cycle is not self._active and cycle in self._waiting:
                self._waiting.remove(cycle)
        if self._responding is not TASK or (self._active is not None and self._active.disconnected):
            self.transport.close()

    def _end_output_of(self, transport: CycleTransport) -> None:
        """Close for the cycle with this transport, unless its response is complete: others may have started then."""
        if self._active is not None and self._active.transport is transport:  # type: ignore[comparison-overlap] # it is
            self._end_output()

    def _end_output(self) -> None:
        """The last response was written: close, immediately if the client has nothing more to send."""
        if self._responding is CLOSED or self.transport.is_closing():
            return
        self._responding = RESPONDING[self._responding][OUTPUT_OVER]
        self._waiting.clear()
        between_requests = self._reading is ENDED and self._received is None and not self._bytes
        may_continue = self._may_be_sending or self._upgrade_offered
        has_sent_all = self._input_closed or (between_requests and not may_continue)
        if has_sent_all or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._reading = READING[self._reading][INPUT_OVER]
        self._received = None
        self._defer_parsing(b"")
        self._flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _fail(self, error: BaseException) -> None:
        """Abort the connection after an internal error. Its message is not logged: it may repeat the input."""
        _log.error("internal error on a connection", **exception_fields(error))
        self._reading = READING[self._reading][INPUT_OVER]
        self.transport.abort()

    def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def _flush(self) -> None:
        if self._fast is not None:
            self._fast.flush()

    def _forget_head(self) -> None:
        if self._fast is not None:
            self._fast.forget()

    # The watchdog

    def _check_progress(self) -> None:
        """Close the connection if it is idle, or has made no progress since the last check."""
        active, unsent = self._active, self.transport.get_write_buffer_size()
        progress = self._requests, self._reading is not IDLE, unsent
        stuck, self._progress = progress == self._progress, progress
        is_closing = self.transport.is_closing()
        if stuck and (unsent or is_closing):
            self.transport.abort()
            return
        if stuck and (active is None or active.more_body):
            self.transport.close()
        self._watchdog = self.loop.call_later(KEEP_ALIVE_SECONDS, self._check_progress)


def _end_of_section(before: bytes, data: bytes, position: int) -> int:
    """The position after the first blank line from `position` on, which may start in `before`; -1 if there is none."""
    if before:
        found = (before + data[position : position + 3]).find(_BLANK_LINE)
        if found >= 0:
            return position + found + len(_BLANK_LINE) - len(before)
    found = data.find(_BLANK_LINE, position)
    return found + len(_BLANK_LINE) if found >= 0 else -1
