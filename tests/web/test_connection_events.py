"""Property: whatever happens to a connection, each complete request is answered once, in order."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from tests.support.connections import Connection, open_connection, run_until_idle
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.context import Respond
from tokensvc.web.protocol import MAX_QUEUED_BYTES, Protocol

pytestmark = pytest.mark.slow

PATHS = ("/quick", "/slow", "/held", "/early", "/fail", "/stream")
LARGE_BYTES = MAX_QUEUED_BYTES + 5000
_RESPONSE_TO = re.compile(rb"<(\d+)>")


class NumberingApplication:
    """Answers each request with the number in its path."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self._accepted: list[tuple[Respond, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, _, number = scope["path"].rpartition("/")
        more = path != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
        if path == "/held":
            await self.release.wait()
        if path == "/fail":
            raise RuntimeError("an application error")
        body = f"<{number}>".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/stream":
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(0)
            body = b"-"
        await send({"type": "http.response.body", "body": body})

    def handle_nowait(self, scope: Scope, _body: bytes, respond: Respond) -> bool:
        path, _, number = scope["path"].rpartition("/")
        if path != "/quick":
            return False
        if not self._accepted:
            asyncio.get_running_loop().call_soon(self.flush)
        self._accepted.append((respond, f"<{number}>".encode()))
        return True

    def flush(self) -> None:
        accepted, self._accepted = self._accepted, []
        for respond, body in accepted:
            respond(Response(201, body, (JSON,), "ok"), "id-1")


def request(path: str, number: int, framing: str) -> bytes:
    head = f"POST {path}/{number} HTTP/1.1\r\nHost: x\r\n"
    if framing == "chunked":
        return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\nX: trailer\r\n\r\n"
    if framing == "expect":
        head += "Expect: 100-continue\r\n"
    if framing == "large":
        return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (LARGE_BYTES, b"x" * LARGE_BYTES)
    return head.encode() + b"Content-Length: 4\r\n\r\nbody"


REQUESTS = st.lists(
    st.tuples(st.sampled_from(PATHS), st.sampled_from(["length", "chunked", "expect", "large"])), max_size=40
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(1, 400) | st.sampled_from([65_536, 250_000])),
        st.sampled_from([("iterate", 1), ("iterate", 5), ("pause", 0), ("resume", 0), ("release", 0)]),
    ),
    max_size=40,
)
ENDS = st.sampled_from(["stays", "eof", "shutdown", "lost", "garbage"])


def responses(connection: Connection) -> list[int]:
    """The numbers of the answered requests, in order; -1 for a response without a number."""
    parts = re.split(rb"(?=HTTP/1\.1 \d)", connection.written)
    found = []
    for part in parts:
        if part.startswith(b"HTTP/1.1 ") and not part.startswith(b"HTTP/1.1 100"):
            number = _RESPONSE_TO.search(part)
            found.append(int(number[1]) if number else -1)
    return found


@settings(max_examples=250)
@given(requests=REQUESTS, events=EVENTS, end=ENDS)
@example([("/quick", "length")] * 40, [("feed", 400)] * 20, "eof")
@example([("/held", "length"), *[("/slow", "chunked")] * 39], [("feed", 400)] * 20, "eof")
@example([("/held", "length"), ("/slow", "large"), ("/slow", "length")], [("feed", 250_000)] * 3, "stays")
@example([("/held", "length"), ("/quick", "length")], [("pause", 0), ("feed", 400)], "garbage")
def test_every_complete_request_is_answered_once_in_order(
    requests: list[tuple[str, str]], events: list[tuple[str, int]], end: str
) -> None:
    whole = [request(path, number, framing) for number, (path, framing) in enumerate(requests)]
    # A request that fails gets a response without a number, and ends the connection.
    expected = [-1 if path == "/fail" else number for number, (path, _) in enumerate(requests)]
    if -1 in expected:
        expected = expected[: expected.index(-1) + 1]  # an application error ends the connection

    async def run() -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        application = NumberingApplication()
        protocol, connection = open_connection(Protocol, application)  # type: ignore[arg-type] # it is an application, too
        stream, position, paused_writing = b"".join(whole), 0, False
        for event, size in events:
            if connection.closed:
                break
            match event:
                case "feed" if not connection.paused:
                    if piece := stream[position : position + size]:
                        protocol.data_received(piece)
                        position += len(piece)
                case "iterate":
                    await run_until_idle(size)
                case "pause" if not paused_writing:
                    protocol.pause_writing()
                    paused_writing = True
                case "resume" if paused_writing:
                    protocol.resume_writing()
                    paused_writing = False
                case "release":
                    application.release.set()
        complete = sum(1 for until in itertools.accumulate(map(len, whole)) if until <= position)
        due = expected[:complete]
        if end == "garbage" and position == sum(map(len, whole[:complete])) and not connection.closed:
            if not connection.paused:
                protocol.data_received(b"nonsense\r\n\r\n")
        elif end == "eof" and not connection.closed:
            protocol.eof_received()
        elif end == "shutdown" and not connection.closed:
            protocol.shutdown()
        elif end == "lost" and not connection.closed:
            connection.close()
        if paused_writing and not connection.closed:
            protocol.resume_writing()
        application.release.set()
        for _ in range(12):
            await run_until_idle(100)
        answered = [number for number in responses(connection) if number >= 0 or -1 in due]
        first_answered = answered[: len(due)]
        if end in ("stays", "eof", "garbage"):
            assert first_answered == due
        else:
            assert first_answered == due[: len(first_answered)], "the first requests are answered"
        if end == "stays" and -1 not in due and not connection.is_finished:
            assert not connection.paused, "reading has resumed"
        is_between_requests = position == sum(map(len, whole[:complete]))
        if end in ("eof", "lost") or (end == "shutdown" and is_between_requests):
            assert connection.is_finished, "only a stopping server waits for an incomplete request"
        assert not errors
        remaining_tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if connection.closed:
            assert not remaining_tasks, "no task runs for a disconnected client"
        protocol.connection_lost(None)
        await run_until_idle()

    asyncio.run(run())
