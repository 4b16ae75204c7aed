"""A repeated head is not parsed again, with no visible difference to the application or the client, whatever is sent
and however it is split."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.connections import Application, RecordedRequest, open_connection, request
from tokensvc.web.protocol import Protocol
from tokensvc.web.request_head import HEAD_MAX_BYTES

_ID = re.compile(rb"x-request-id: [0-9a-f]{16}")
"""The id of a rejected request, which differs each time."""


class NeverRemembering(Protocol):
    """Parses every head."""

    def _remember_head(self, data: bytes) -> None:
        """Remember nothing."""


class CountingHeads(Protocol):
    """Counts the heads that it parses."""

    parsed = 0

    def on_headers_complete(self) -> None:
        self.parsed += 1
        super().on_headers_complete()


def exchange(kind: type[Protocol], pieces: list[tuple[bytes, bool]]) -> tuple[list[RecordedRequest], bytes, bool]:
    """What the application and the client received, and whether the connection was closed. After a piece marked true,
    the client waits for the responses."""

    async def run() -> tuple[list[RecordedRequest], bytes, bool]:
        application = Application()
        protocol, connection = open_connection(kind, application)
        for piece, waits in pieces:
            if not connection.is_finished:
                protocol.data_received(piece)
            for _ in range(8 if waits else 0):
                await asyncio.sleep(0)
        for _ in range(40):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return application.requests, _ID.sub(b"", connection.written), connection.is_finished

    return asyncio.run(run())


QUICK = request()
REQUESTS = [
    QUICK,
    request(b"BODY"),
    request(b"slow"),
    request(b"denied"),
    request(b"longer"),
    request(b"\r\n"),
    request(b"\r\n\r\n"),
    request(b""),
    request(path="/other"),
    request(more=b"Authorization: Bearer tsk_a\r\n"),
    request(more=b"Authorization: Bearer tsk_b\r\n"),
    request(more=b"Expect: 100-continue\r\n"),
    request(more=b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    b"\r\n" + QUICK,
    QUICK + b"\r\n",
    b"POST /quick HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    b"POST /quick HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /quick HTTP/1.1\nHost: x\nContent-Length: 4\n\nbody",
]
LAST_REQUESTS = [
    request(more=b"Connection: close\r\n"),
    request(version=b"1.0"),
    request(length=3),
    request(length=9),
    b"nonsense\r\n\r\n",
]


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """Requests, often repeated ones, split anywhere or not at all, and sent with or without waiting."""
    distinct = draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3))
    stream = draw(st.lists(st.sampled_from(distinct), min_size=1, max_size=6))
    stream += draw(st.lists(st.sampled_from(LAST_REQUESTS), max_size=1))
    pieces: list[bytes] = []
    for data in stream:
        cut = draw(st.integers(0, len(data)) | st.just(0))
        pieces += [part for part in (data[:cut], data[cut:]) if part]
        if len(pieces) > 1 and draw(st.integers(0, 4)) == 0:
            pieces[-2:] = [pieces[-2] + pieces[-1]]
    return [(piece, draw(st.booleans())) for piece in pieces]


@pytest.mark.slow
@settings(max_examples=300)
@given(conversations())
@example([(QUICK, True), (QUICK, True)])
@example([(QUICK, False), (QUICK, False)])
@example([(QUICK + b"PO", True), (QUICK[2:], True), (QUICK[2:], True)])
@example([(request(b"\r\n") + b"\r\n", True), (request(b"\r\n") + b"\r\n", True)])
@example([(QUICK, True), (request(b"slow"), True), (QUICK, True)])
@example([(QUICK, True), (request(b"slow"), False), (QUICK, True)])
@example([(LAST_REQUESTS[0], False), (LAST_REQUESTS[0], True)])
def test_remembering_heads_changes_no_response(pieces: list[tuple[bytes, bool]]) -> None:
    assert exchange(Protocol, pieces) == exchange(NeverRemembering, pieces)


def test_the_same_head_is_parsed_once_and_a_different_one_again() -> None:
    async def run() -> None:
        application = Application()
        protocol, connection = open_connection(CountingHeads, application)
        for piece in (QUICK, request(b"BODY"), QUICK, request(b"longer"), request(b"LONGER")):
            protocol.data_received(piece)
            await asyncio.sleep(0)
        assert protocol.parsed == 2
        assert [body for *_, body in application.requests] == [b"body", b"BODY", b"body", b"longer", b"LONGER"]
        assert connection.written.count(b"HTTP/1.1 201") == 5

    asyncio.run(run())


@pytest.mark.parametrize(
    ("following", "statuses"),
    [
        (request(b"BODY"), [b"201", b"201"]),
        (request(b"slow"), [b"201", b"200"]),
        (request(b"denied"), [b"201", b"403"]),
        (request(more=b"Connection: close\r\n"), [b"201", b"201"]),
        (b"nonsense\r\n\r\n", [b"201", b"400"]),
        (b"POST /quick HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_MAX_BYTES, [b"201", b"431"]),
    ],
    ids=["another", "data handled by a task", "a rejected data", "the last", "garbage", "an endless head"],
)
@pytest.mark.parametrize("together", [0, 20, 1000], ids=["apart", "partly together", "together"])
def test_input_after_an_accepted_request_is_answered_after_it(
    following: bytes, statuses: list[bytes], together: int
) -> None:
    pieces = [(QUICK, True), (QUICK + following[:together], False), (following[together:], True)]
    _, written, _ = exchange(Protocol, pieces)
    statuses = [b"201", *statuses]
    assert re.findall(rb"HTTP/1.1 (\d+)", written) == statuses


def test_a_client_that_does_not_read_never_takes_the_fast_path() -> None:
    async def run() -> None:
        application = Application()
        protocol, _ = open_connection(Protocol, application)
        protocol.data_received(QUICK)
        await asyncio.sleep(0)
        protocol.pause_writing()
        protocol.data_received(QUICK)
        assert application.fast_path_count == 1
        protocol.resume_writing()
        for _ in range(8):
            await asyncio.sleep(0)
        assert len(application.requests) == 2

    asyncio.run(run())


@pytest.mark.parametrize("end", ["eof_received", "shutdown"])
def test_an_accepted_request_is_answered_before_the_connection_ends(end: str) -> None:
    async def run() -> None:
        protocol, connection = open_connection(Protocol, Application())
        for _ in range(3):
            protocol.data_received(QUICK)
        getattr(protocol, end)()
        assert connection.written.count(b"HTTP/1.1 201") == 3

    asyncio.run(run())


def test_nothing_is_written_to_a_lost_connection() -> None:
    async def run() -> None:
        protocol, connection = open_connection(Protocol, Application())
        protocol.data_received(QUICK)
        connection.close()
        await asyncio.sleep(0)
        assert connection.written == b""

    asyncio.run(run())
