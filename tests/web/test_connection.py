"""One connection: responses and their order, rejected input, and limits on memory and time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.support.connections import connect, feed, request, run_until_idle
from tokensvc.web import protocol as connection_states
from tokensvc.web.protocol import (
    KEEP_ALIVE_SECONDS,
    LINGER_MAX_BYTES,
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    MAX_UNPARSED_BYTES,
    READING,
    RESPONDING,
    Input,
    Output,
    Reading,
    Responding,
)
from tokensvc.web.request_head import ENCODED_BODY_MAX_BYTES, HEAD_MAX_BYTES

GET = b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"
HELD = GET.replace(b"/other", b"/held")
SLOW = request(path="/other")
QUICK = request()
UPGRADE = b"Connection: Upgrade\r\nUpgrade: anything\r\n"
CHUNKED = b"POST /other HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
SMUGGLED = b"POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nX-Swallow: "
GARBAGE = b"nonsense\r\n\r\n"
EARLY = request(b"", "/early", length=100)
CLOSING_EARLY = request(b"", "/early", b"Connection: close\r\n", length=100)
"""Answered before its body has arrived."""


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def splits(data: bytes) -> list[list[bytes]]:
    """The data in one piece, in two pieces split at every position, and byte by byte."""
    return [[data], *([data[:at], data[at:]] for at in range(1, len(data))), [bytes([byte]) for byte in data]]


# The tables


def test_every_state_is_reachable_and_only_the_last_ones_are_final() -> None:
    assert set(READING) == set(Reading)
    assert set(RESPONDING) == set(Responding)
    assert {state for row in READING.values() for state in row.values()} == set(Reading)
    assert {state for row in RESPONDING.values() for state in row.values()} == set(Responding)
    assert {event for row in READING.values() for event in row} == set(Input)
    assert {event for row in RESPONDING.values() for event in row} == set(Output)
    assert set(READING[Reading.ENDED].values()) == {Reading.ENDED}
    assert not RESPONDING[Responding.CLOSED]


def test_the_input_can_end_in_every_state() -> None:
    assert all(row[Input.INPUT_OVER] is Reading.ENDED for row in READING.values())


# Upgrade


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/quick", "/other"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_upgrade_is_answered_as_plain_http_and_is_the_last_request(path: str, framing: str) -> None:
    if framing == "length":
        offered = request(SMUGGLED, path=path, more=UPGRADE)
    else:
        offered = CHUNKED.replace(b"/other", path.encode()) + UPGRADE + b"\r\n%x\r\n%b\r\n0\r\n\r\n"
        offered = offered % (len(SMUGGLED), SMUGGLED)

    async def test() -> None:
        for pieces in splits(offered):
            protocol, connection, application = connect()
            await feed(protocol, connection, pieces, wait=len(pieces) <= 2)
            await run_until_idle()
            await feed(protocol, connection, [SLOW])
            assert [(seen[1], seen[3]) for seen in application.requests] == [(path, SMUGGLED)]
            assert len(connection.statuses) == 1
            assert b"connection: close\r\n" in connection.written
            assert connection.is_finished
            assert b"upgrade" not in dict(application.requests[0][2])

    run(test())


def test_an_upgrade_after_other_requests_is_answered_in_order() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [QUICK + SLOW + request(more=UPGRADE) + SLOW])
        assert [seen[1] for seen in application.requests] == ["/quick", "/other", "/quick"]
        assert len(connection.statuses) == 3
        assert connection.is_finished

    run(test())


@pytest.mark.parametrize(
    "target",
    [
        b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
        b"CONNECT /other HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["CONNECT", "CONNECT to a path", "PRI"],
)
def test_connect_is_rejected(target: bytes) -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [target, SLOW])
        assert connection.statuses == [400]
        assert connection.is_finished
        assert not application.requests

    run(test())


# Order and acceptance


@pytest.mark.parametrize("good", [QUICK, SLOW, QUICK + SLOW, SLOW + QUICK], ids=["fast", "task", "both", "task first"])
@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "apart"])
def test_accepted_requests_are_answered_before_the_error_that_follows(good: bytes, together: bool) -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [good + GARBAGE] if together else [good, GARBAGE], wait=False)
        await run_until_idle()
        assert connection.statuses[-1] == 400
        assert all(status < 300 for status in connection.statuses[:-1])
        assert len(connection.statuses) == len(application.requests) + 1
        assert connection.is_finished

    run(test())


@pytest.mark.parametrize("good", [QUICK, SLOW, QUICK + SLOW + QUICK, SLOW * 100, QUICK * 100])
def test_accepted_requests_are_answered_after_the_client_closed_its_side(good: bytes) -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        protocol.data_received(good)
        protocol.eof_received()
        await run_until_idle(2000)
        assert len(connection.statuses) == len(application.requests) == good.count(b"POST")
        assert connection.closed

    run(test())


@pytest.mark.parametrize("part", [b"", b"GE", GET[:-2], SLOW[:-2], CHUNKED + b"\r\n4\r\nbo"])
def test_an_incomplete_request_of_a_client_that_closed_its_side_gets_no_response(part: bytes) -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [SLOW, part])
        assert protocol.eof_received() is False
        await run_until_idle()
        assert connection.statuses == [200]
        assert connection.closed
        assert len(application.requests) == 1

    run(test())


def test_an_early_response_is_the_only_one_whatever_the_rest_of_the_body_is() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [CHUNKED.replace(b"/other", b"/early") + b"\r\n"])
        assert connection.statuses == [401]
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        await feed(protocol, connection, [chunk] * 40, wait=False)
        assert connection.statuses == [401]
        assert connection.is_finished

    run(test())


def test_after_an_early_response_the_rest_of_the_body_is_skipped_and_the_connection_goes_on() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        early = request(b"x" * 100_000, path="/early")
        await feed(protocol, connection, [early[:1000], early[1000:], QUICK])
        assert connection.statuses == [401, 201]
        assert not connection.is_finished

    run(test())


def test_an_early_response_ends_the_connection_of_a_client_that_waits_to_send_its_body() -> None:
    """Some clients then send the body, others their next request, so what follows must be read as neither."""
    expecting = b"Expect: 100-continue\r\n"

    async def test() -> None:
        for following in (b"body" * 25, QUICK * 3):
            protocol, connection, application = connect()
            await feed(protocol, connection, [request(b"", "/early", expecting, length=100)])
            assert connection.statuses == [401]
            assert b"\r\nconnection: close\r\n" in connection.written
            await feed(protocol, connection, [following])
            assert connection.statuses == [401]
            assert len(application.requests) == 1
            assert connection.is_finished
        for keeping in (request(b"body", "/early", expecting), request(b"body", "/other", expecting)):
            protocol, connection, _ = connect()
            await feed(protocol, connection, [keeping, SLOW])
            assert connection.statuses[-1] == 200
            assert not connection.is_finished

    run(test())


def test_a_body_that_grows_too_large_is_rejected_and_not_processed() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        await feed(protocol, connection, [CHUNKED + b"\r\n", *[chunk] * (ENCODED_BODY_MAX_BYTES // 0x10000 + 1)])
        assert connection.statuses == [413]
        assert connection.is_finished
        assert application.disconnects == 1
        assert not application.requests

    run(test())


def test_a_too_large_content_length_is_rejected_before_the_body() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [request(b"", path="/other", length=ENCODED_BODY_MAX_BYTES + 1)])
        assert connection.statuses == [413]
        assert not connection.closed, "the client is still sending the body and must be able to read the response"
        assert application.disconnects == 0

    run(test())


# Trailers


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/quick", "/other"])
def test_trailers_are_dropped(path: str) -> None:
    sent = (
        CHUNKED.replace(b"/other", path.encode())
        + b"\r\n4\r\nbody\r\n0\r\nAuthorization: x\r\nHost: y\r\nConnection: close\r\n\r\n"
    )

    async def test() -> None:
        for pieces in splits(sent):
            protocol, connection, application = connect()
            await feed(protocol, connection, [*pieces, SLOW], wait=len(pieces) <= 2)
            await run_until_idle()
            assert [seen[3] for seen in application.requests] == [b"body", b"body"]
            assert application.requests[0][2] == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]

    run(test())


# Heads


def head_of(size: int) -> bytes:
    start = b"GET /other HTTP/1.1\r\nHost: x\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize(
    "before", [b"", SLOW, QUICK, b"\r\n"], ids=["first", "after a task", "after another", "after a blank line"]
)
@pytest.mark.parametrize(("size", "status"), [(HEAD_MAX_BYTES, 200), (HEAD_MAX_BYTES + 1, 431)])
def test_the_head_limit_applies_however_the_head_is_split(before: bytes, size: int, status: int) -> None:
    async def test() -> None:
        for at in (0, 1, len(before), len(before) + 1, len(before) + size // 2, len(before) + size - 1):
            protocol, connection, _ = connect()
            sent = before + head_of(size)
            await feed(protocol, connection, [piece for piece in (sent[:at], sent[at:]) if piece])
            assert connection.statuses[-1] == status
            assert connection.is_finished is (status == 431)

    run(test())


def test_an_endless_head_is_rejected() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n" * 1000] * 3])
        assert connection.statuses == [431]

    run(test())


HOST = b"Host: x\r\n"
REJECTED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: a@x\r\n\r\n", 400),
    "two hosts in one": (b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
    "two authorizations": (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: a\r\n\r\n", 400),
    "two content types": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Type: a\r\nContent-type: b\r\n\r\n", 400),
    "two idempotency keys": (b"GET / HTTP/1.1\r\n" + HOST + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    "no space before the version": (b"GET /otherHTTP/1.1\r\n" + HOST + b"\r\n", 505),
    "no version": (b"GET /\r\n\r\n", 505),
    "RTSP/1.0": (b"GET / RTSP/1.0\r\n" + HOST + b"\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "a broken address": (b"GET http://[::1]:x/secret HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a star": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no slash": (b"GET secret HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a query alone": (b"GET ?secret HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bytes beyond ASCII": (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a control byte": (b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "gzip and chunked": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "identity": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "chunked in 1.0": (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and a length": (CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "a length of five thousand digits": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"0" * 4999 + b"5\r\n\r\nhello",
        400,
    ),
    "a signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello", 400),
    "bare line feeds": (b"POST / HTTP/1.1\n" + HOST + b"Content-Length: 5\n\nhello", 400),
    "a folded header": (b"POST / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "a space before the colon": (b"POST / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


@pytest.mark.parametrize(("sent", "status"), REJECTED.values(), ids=REJECTED.keys())
def test_an_ambiguous_head_is_rejected(sent: bytes, status: int) -> None:
    async def test() -> None:
        for pieces in ([sent], [bytes([byte]) for byte in sent]):
            protocol, connection, application = connect()
            await feed(protocol, connection, [*pieces, SLOW], wait=False)
            await run_until_idle()
            assert connection.statuses == [status]
            assert b"secret" not in connection.written
            assert b"\r\nconnection: close\r\n" in connection.written
            assert connection.is_finished
            assert not application.requests

    run(test())


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET /other HTTP/1.0\r\n", "/other"),
        (b"GET http://other.example/other?x=y HTTP/1.1\r\nHost: x\r\n", "/other"),
        (b"GET http://other.example HTTP/1.1\r\nHost: x\r\n", "/"),
        (b"GET //other HTTP/1.1\r\nHost:\r\n", "//other"),
        (b"GET /%6fther HTTP/1.1\r\nHost: [::1]:8080\r\n", "/other"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x_y.example:80\r\n", "*"),
    ],
)
def test_every_form_of_request_target_is_supported(line: bytes, path: str) -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [line + b"\r\n"])
        assert connection.statuses == [200]
        assert application.requests[0][1] == path

    run(test())


def test_an_internal_error_aborts_the_connection_and_logs_no_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail_internally(*_head: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(connection_states, "read_head", fail_internally)

    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [SLOW + SLOW])
        assert connection.aborted
        assert not connection.written
        printed = "".join(capsys.readouterr()) + caplog.text  # caplog where an earlier test configured the log
        assert "RuntimeError" in printed
        assert "secret" not in printed

    run(test())


# Memory


@pytest.mark.slow
def test_parsing_pauses_while_enough_requests_wait_and_then_continues() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        count = MAX_UNPARSED_BYTES // len(SLOW) - 1
        await feed(protocol, connection, [HELD + SLOW * count])
        assert len(protocol._waiting) == MAX_QUEUED
        assert connection.paused
        application.release.set()
        while len(application.requests) <= count:
            await run_until_idle()
            assert len(protocol._waiting) <= MAX_QUEUED
        await run_until_idle()
        assert connection.statuses == [200] * (count + 1)
        assert not connection.paused

    run(test())


def test_parsing_pauses_while_the_waiting_bodies_are_large() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        large = request(b"x" * (MAX_QUEUED_BYTES // 2 + 1), path="/other")
        await feed(protocol, connection, [HELD + large * 5])
        assert len(protocol._waiting) == 2
        assert connection.paused
        application.release.set()
        await run_until_idle(200)
        assert connection.statuses == [200] * 6
        assert not connection.paused

    run(test())


def test_a_body_that_is_not_read_yet_is_held_back() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        large = request(b"x" * (2 * MAX_QUEUED_BYTES), path="/other")
        await feed(protocol, connection, [HELD + large[: MAX_QUEUED_BYTES + 200]])
        assert connection.paused
        application.release.set()
        await run_until_idle()
        assert not connection.paused
        await feed(protocol, connection, [large[MAX_QUEUED_BYTES + 200 :]])
        assert connection.statuses == [200, 200]

    run(test())


@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "apart"])
def test_a_waiting_body_is_held_back_by_every_earlier_response(together: bool) -> None:
    """However many earlier requests without a body are answered first."""

    async def test() -> None:
        protocol, connection, application = connect()
        large = request(b"x" * (16 * MAX_QUEUED_BYTES), path="/other")
        part = large[: MAX_QUEUED_BYTES + 200]
        if together:  # the packet has more requests than can be queued
            await feed(protocol, connection, [HELD * (MAX_QUEUED + 4) + part], wait=False)
        else:
            await feed(protocol, connection, [HELD * 4, part], wait=False)
        await run_until_idle()
        application.release.set()
        while protocol._received is None or protocol._received is not protocol._active:
            await asyncio.sleep(0)
            if not connection.paused and protocol._received is not None and protocol._received is not protocol._active:
                assert len(protocol._received.body) <= MAX_QUEUED_BYTES
        await feed(protocol, connection, [large[len(part) :]])
        assert set(connection.statuses) == {200}
        assert application.requests[-1][3] == large[-16 * MAX_QUEUED_BYTES :]

    run(test())


def test_a_complete_large_body_holds_nothing_back_once_it_is_handled() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        large = request(b"x" * (2 * MAX_QUEUED_BYTES), path="/other")
        await feed(protocol, connection, [HELD + large[:-1], large[-1:]], wait=False)
        await run_until_idle()
        application.release.set()
        await run_until_idle()
        assert connection.statuses == [200, 200]
        assert not connection.paused

    run(test())


def test_a_transport_that_reads_while_paused_is_aborted() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [HELD + SLOW * 5000], wait=False)
        await feed(protocol, connection, [SLOW * 5000] * 2, wait=False)
        assert connection.aborted

    run(test())


def test_one_connection_parses_a_bounded_number_of_requests_per_iteration() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        protocol.data_received(QUICK * 1000)
        assert application.fast_path_count == MAX_QUEUED
        assert connection.paused
        await run_until_idle()
        assert connection.statuses == [201] * 1000
        assert not connection.paused

    run(test())


@pytest.mark.parametrize("path", ["/quick", "/other"])
@pytest.mark.parametrize("chunk", [b"4\r\n\r\n\r\n\r\n", b"1\r\nx\r\n"], ids=["blank lines", "single bytes"])
def test_one_connection_parses_a_bounded_number_of_chunks_per_iteration(path: str, chunk: bytes) -> None:
    sent = CHUNKED.replace(b"/other", path.encode()) + b"\r\n" + chunk * 5000 + b"0\r\n\r\n"
    body = chunk.partition(b"\r\n")[2][:-2] * 5000

    async def test() -> None:
        protocol, connection, application = connect()
        protocol.data_received(sent + SLOW)
        assert connection.paused is (chunk[:1] == b"4")
        await run_until_idle()
        assert [seen[3] for seen in application.requests] == [body, b"body"]
        assert len(connection.statuses) == 2
        assert not connection.paused

    run(test())


@pytest.mark.parametrize("ends_its_side", [False, True])
def test_a_stopping_server_reads_a_deferred_body_completely(ends_its_side: bool) -> None:
    chunk, last = b"4\r\n\r\n\r\n\r\n", b"0\r\n\r\n"

    async def test() -> None:
        protocol, connection, application = connect()
        protocol.data_received(CHUNKED + b"\r\n")
        protocol.data_received(chunk * 2000 + last * ends_its_side)
        assert connection.paused, "a part of the body waits"
        if ends_its_side:
            protocol.eof_received()
        protocol.shutdown()
        await run_until_idle()
        if not ends_its_side:
            protocol.data_received(last)
            await run_until_idle()
        assert [seen[3] for seen in application.requests] == [b"\r\n\r\n" * 2000]
        assert connection.statuses == [200]
        assert connection.is_finished

    run(test())


def test_a_large_body_with_an_early_response_is_read_to_its_end() -> None:
    large, chunk = b"%x\r\n%b\r\n" % (MAX_QUEUED_BYTES + 1, b"x" * (MAX_QUEUED_BYTES + 1)), b"4\r\n\r\n\r\n\r\n"

    async def test() -> None:
        protocol, connection, application = connect()
        protocol.data_received(CHUNKED.replace(b"/other", b"/early") + b"\r\n" + large + chunk * 2000)
        await run_until_idle()
        assert connection.statuses == [401]
        assert not connection.paused
        await feed(protocol, connection, [chunk, b"0\r\n\r\n", SLOW])
        assert connection.statuses == [401, 200]
        assert [seen[1] for seen in application.requests] == ["/early", "/other"]

    run(test())


def test_a_client_that_does_not_read_has_one_request_accepted_at_most() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        protocol.pause_writing()
        await feed(protocol, connection, [SLOW * 100])
        assert len(application.requests) <= 1
        assert connection.paused
        protocol.resume_writing()
        await run_until_idle(1000)
        assert connection.statuses == [200] * 100

    run(test())


# Ends


def test_the_last_response_is_readable_before_the_connection_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_states, "LINGER_SECONDS", 0.01)

    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [GARBAGE])
        assert connection.output_ended
        assert not connection.closed
        protocol.data_received(SLOW)
        await asyncio.sleep(0.05)
        assert connection.closed
        assert connection.statuses == [400]

    run(test())


def test_a_client_that_keeps_sending_after_the_last_response_is_closed() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [GARBAGE, *[b"x" * 0x10000] * (LINGER_MAX_BYTES // 0x10000 + 1)], wait=False)
        assert connection.closed

    run(test())


def test_a_stopping_server_answers_the_received_requests() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [HELD + SLOW + SLOW])
        protocol.shutdown()
        await feed(protocol, connection, [SLOW])
        application.release.set()
        await run_until_idle()
        assert connection.statuses == [200] * 3
        assert connection.written.count(b"connection: close") == 1
        assert connection.is_finished

    run(test())


@pytest.mark.parametrize("before", [GARBAGE, CLOSING_EARLY], ids=["rejected", "answered early"])
def test_a_client_that_closes_its_side_after_the_last_response_is_closed_immediately(before: bytes) -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [before])
        assert connection.output_ended
        assert not connection.closed
        protocol.eof_received()
        assert connection.closed

    run(test())


@pytest.mark.parametrize("last", [QUICK, SLOW], ids=["fast", "task"])
@pytest.mark.parametrize(
    "kind", [(b"1.1", UPGRADE), (b"1.1", b"Connection: close\r\n"), (b"1.0", b"")], ids=["upgrade", "close", "1.0"]
)
def test_a_client_that_pipelined_after_the_last_request_is_not_reset(last: bytes, kind: tuple[bytes, bytes]) -> None:
    version, more = kind

    async def test() -> None:
        protocol, connection, application = connect()
        head, body = last.replace(b"1.1", version).split(b"\r\n", 1)
        await feed(protocol, connection, [head + b"\r\n" + more + body + SLOW * 3])
        assert len(application.requests) == len(connection.statuses) == 1
        assert connection.output_ended
        assert not connection.closed

    run(test())


def test_a_client_whose_upgrade_was_ignored_may_still_be_sending() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [request(more=UPGRADE)])
        assert connection.output_ended
        assert not connection.closed

    run(test())


def test_a_response_cut_off_by_a_bad_body_is_not_continued() -> None:
    """The application waits for the client to read when the body turns out to be invalid."""

    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [CHUNKED.replace(b"/other", b"/early") + b"\r\n"], wait=False)
        application.pause_before_body = protocol.pause_writing
        await run_until_idle()
        assert connection.statuses == [401]
        protocol.data_received(GARBAGE)
        assert connection.output_ended
        protocol.resume_writing()
        await run_until_idle()
        assert not application.failures
        assert connection.statuses == [401]
        assert not connection.written.endswith(b"well")

    run(test())


def test_an_application_that_fails_after_its_response_affects_no_other_request() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        failing = GET.replace(b"/other", b"/fails-later")
        await feed(protocol, connection, [failing + HELD + SLOW])
        assert application.failures == 1
        application.release.set()
        await run_until_idle()
        assert connection.statuses == [200] * 3
        assert not connection.is_finished

    run(test())


def test_a_stopping_server_does_not_reset_a_client_that_is_still_sending() -> None:
    async def test() -> None:
        for sent in (EARLY, SLOW + QUICK[:20]):
            protocol, connection, _ = connect()
            await feed(protocol, connection, [sent])
            assert len(connection.statuses) == 1
            protocol.shutdown()
            assert connection.output_ended
            assert not connection.closed
            protocol.shutdown()
            assert not connection.closed

    run(test())


def test_a_stopping_server_closes_idle_connections_immediately() -> None:
    async def test() -> None:
        for before in (b"", QUICK, SLOW):
            protocol, connection, _ = connect()
            await feed(protocol, connection, [before])
            protocol.shutdown()
            assert connection.closed

    run(test())


async def check_progress(protocol: Any, connection: Any, times: int) -> None:
    for _ in range(times):
        if not connection.closed:
            protocol._check_progress()
    await run_until_idle()


def test_a_request_that_started_after_a_check_has_until_the_next_one() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [SLOW])
        await check_progress(protocol, connection, 1)
        await feed(protocol, connection, [SLOW[:-1]])
        await check_progress(protocol, connection, 1)
        assert not connection.closed
        await feed(protocol, connection, [SLOW[-1:]])
        assert connection.statuses == [200, 200]
        await check_progress(protocol, connection, 2)
        assert connection.closed

    run(test())


def test_a_request_in_progress_survives_every_check() -> None:
    async def test() -> None:
        protocol, connection, application = connect()
        await feed(protocol, connection, [HELD])
        await check_progress(protocol, connection, 5)
        assert not connection.closed
        application.release.set()
        await run_until_idle()
        assert connection.statuses == [200]

    run(test())


def test_a_client_that_reads_nothing_between_two_checks_is_cut_off() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        await feed(protocol, connection, [SLOW])
        connection.unsent_bytes = 1000
        await check_progress(protocol, connection, 1)
        assert not connection.aborted
        await check_progress(protocol, connection, 1)
        assert connection.aborted

    assert KEEP_ALIVE_SECONDS == 75, "the interval that the README states"
    run(test())


def test_a_response_that_is_still_being_read_survives_the_close() -> None:
    async def test() -> None:
        protocol, connection, _ = connect()
        connection.unsent_bytes = 1000
        await feed(protocol, connection, [SLOW])
        await check_progress(protocol, connection, 1)
        connection.protocol = None  # unsent data delays the end of the connection
        connection.unsent_bytes = 900
        connection.close()
        protocol._check_progress()
        assert not connection.aborted
        connection.unsent_bytes = 800
        protocol._check_progress()
        assert not connection.aborted
        protocol._check_progress()
        assert connection.aborted

    run(test())
