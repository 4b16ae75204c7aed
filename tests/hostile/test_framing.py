"""Requests whose length is ambiguous, and heads that parsers read differently.

Invariants
- Each is either rejected once, with 400 (501 for an unknown transfer coding), and the connection is closed, or read
  exactly as h11 reads it, and what follows is read as the next request.
- No request gets two responses or is read as two requests, by the service or by a proxy in front of it. Other clients
  of that proxy get their own responses.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.hostile import messages, oracle
from tests.hostile.messages import SENTINEL, bearer, token_body, unique
from tests.hostile.wire import (
    CLOSED,
    OPEN,
    RESET,
    TIMEOUT_SECONDS,
    Address,
    Connection,
    Received,
    exchange,
    wait_until_read,
)

Case = Callable[[bytes, bytes], bytes]
"""Builds a request from the start of its head and a valid body."""


def _lengths(*values: str) -> dict[str, Case]:
    """Cases with these Content-Length headers; N stands for the body's length and | for a line break."""

    def make_case(value: str) -> Case:
        def make(head: bytes, body: bytes) -> bytes:
            lines = value.replace("N", str(len(body))).replace("|", "\r\n").encode("latin-1")
            return head + lines + b"\r\n\r\n" + body

        return make

    return {value[:40].replace("\0", "NUL"): make_case(value) for value in values}


def _codings(*values: str) -> dict[str, Case]:
    """Cases with these Transfer-Encoding headers and a chunked body; N stands for its length and | for a line break."""

    def make_case(value: str) -> Case:
        def make(head: bytes, body: bytes) -> bytes:
            chunks = messages.chunked(body)
            lines = value.replace("N", str(len(chunks))).replace("|", "\r\n").encode("latin-1")
            return head + lines + b"\r\n\r\n" + chunks

        return make

    return {value[:40]: make_case(value) for value in values}


def _chunks(**cases: Callable[[bytes], bytes]) -> dict[str, Case]:
    """Cases with `Transfer-Encoding: chunked` and these bodies."""

    def make_case(chunks: Callable[[bytes], bytes]) -> Case:
        return lambda head, body: head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(body)

    return {f"chunks: {name.replace('_', ' ')}": make_case(chunks) for name, chunks in cases.items()}


def _headers(*lines: bytes) -> dict[str, Case]:
    """Cases with these header lines before a valid Content-Length."""

    def make_case(line: bytes) -> Case:
        return lambda head, body: head + line + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    return {repr(line[:40])[2:-1]: make_case(line) for line in lines}


def _one_chunk(size: bytes) -> Callable[[bytes], bytes]:
    """A body of one chunk with this size line, in which %x stands for the chunk's size."""
    return lambda body: size.replace(b"%x", b"%x" % len(body)) + b"\r\n" + body + b"\r\n0\r\n\r\n"


def _http_1_0(case: Case) -> Case:
    return lambda head, body: case(head.replace(b"HTTP/1.1", b"HTTP/1.0", 1), body)


CASES: dict[str, Case] = {
    **_lengths(
        "Content-Length: N|Content-Length: 5",
        "Content-Length: 5|Content-Length: N",
        "Content-Length: N|Content-Length: N",
        "Content-Length: N, N",
        "Content-Length: N, 5",
        "Content-Length: 5, N",
        "Content-Length: N,",
        "Content-Length: ,N",
        "Content-Length: +N",
        "Content-Length: -N",
        "Content-Length: -0",
        "Content-Length: 0xN",
        "Content-Length: 0N",
        "Content-Length: 00000000000000000000N",
        "Content-Length: N.0",
        "Content-Length: N_0",
        "Content-Length: Ne0",
        "Content-Length: N N",
        "Content-Length: N\tN",
        "Content-Length: N;x",
        'Content-Length: "N"',
        "Content-Length: \xb2",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: x",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: 99999999999999999999",
        "Content-Length: 9223372036854775808",
        "Content-Length: 4294967296",
        "Content-Length: " + "9" * 400,
        "Content-Length : N",
        "Content-Length\t: N",
        " Content-Length: N",
        "Content_Length: N",
        "Content-Length: N\x0b",
        "Content-Length: \x0cN",
        "Content-Length: N\0",
        "Content-Length\0: N",
        "Content-Length: N|Transfer-Encoding: chunked",
        "Content-Length: N|Transfer-Encoding: identity",
        "Content-Length: N|Transfer-Encoding:",
        "Content-Length: 0|Transfer-Encoding: x",
        "Content-Length: 5|X:| N",
        "Content-Length:| N",
    ),
    **_codings(
        "Transfer-Encoding: chunked|Content-Length: N",
        "Content-Length: 5|Transfer-Encoding: chunked",
        "Content-Length: 0|Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked|Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked|Transfer-Encoding: identity",
        "Transfer-Encoding: identity|Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip|Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked;x=1",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked \t ",
        "Transfer-Encoding:chunked",
        "transfer-encoding: chunked",
        'Transfer-Encoding: "chunked"',
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunk\0ed",
        "Transfer-Encoding: chunked\xa0",
        "Transfer-Encoding: c\xcchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:| chunked",
        "Transfer-Encoding: x|| chunked",
        "X: x| Transfer-Encoding: chunked",
        " Transfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: ",
        "TE: chunked",
    ),
    **{f"HTTP/1.0: {name}": _http_1_0(case) for name, case in _codings(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked|Connection: keep-alive",
        "Transfer-Encoding: chunked|Content-Length: N",
        "Transfer-Encoding: identity",
    ).items()},
    **_chunks(
        valid=_one_chunk(b"%x"),
        upper_case=lambda body: _one_chunk(b"%X")(body).replace(b"%X", b"%X" % len(body)),
        leading_zeros=_one_chunk(b"0000%x"),
        extension=_one_chunk(b"%x;name=value"),
        quoted_extension=_one_chunk(b'%x;name="va\\"lue"'),
        extension_without_a_name=_one_chunk(b"%x;"),
        space_before_extension=_one_chunk(b"%x ;name"),
        extension_with_a_bare_lf=_one_chunk(b"%x;a\nb"),
        extension_with_a_bare_cr=_one_chunk(b"%x;a\rb"),
        extension_with_nul=_one_chunk(b"%x;a\0b"),
        extension_of_100_kb=_one_chunk(b"%x;" + b"a" * 100_000),
        extension_of_3_mib_without_an_end=lambda body: b"5;" + b"a" * 3_145_728,
        size_with_0x=_one_chunk(b"0x%x"),
        size_with_plus=_one_chunk(b"+%x"),
        size_with_minus=_one_chunk(b"-%x"),
        size_with_a_space_before=_one_chunk(b" %x"),
        size_with_a_space_after=_one_chunk(b"%x "),
        size_with_a_tab_after=_one_chunk(b"%x\t"),
        size_with_an_underscore=_one_chunk(b"0_%x"),
        size_empty=_one_chunk(b""),
        size_not_hexadecimal=_one_chunk(b"xyz"),
        size_of_16_digits=_one_chunk(b"70000000000000%x"),
        size_of_19_digits=_one_chunk(b"10000000000000000%x"),
        size_of_21_digits=_one_chunk(b"0000000000000000000%x"),
        size_of_1000_zeros=_one_chunk(b"0" * 1000 + b"%x"),
        size_of_64_bits=_one_chunk(b"ffffffffffffffff"),
        size_above_64_bits=_one_chunk(b"1000000000000000%x"),
        size_line_ends_with_lf=lambda body: b"%x\n" % len(body) + body + b"\r\n0\r\n\r\n",
        size_line_ends_with_cr=lambda body: b"%x\r" % len(body) + body + b"\r\n0\r\n\r\n",
        data_ends_with_lf=lambda body: b"%x\r\n" % len(body) + body + b"\n0\r\n\r\n",
        data_ends_with_nothing=lambda body: b"%x\r\n" % len(body) + body + b"0\r\n\r\n",
        data_ends_with_other_bytes=lambda body: b"%x\r\n" % len(body) + body + b"XX0\r\n\r\n",
        data_longer_than_its_size=lambda body: b"%x\r\n" % (len(body) - 1) + body + b"\r\n0\r\n\r\n",
        data_shorter_than_its_size=lambda body: b"%x\r\n" % (len(body) + 1) + body + b"\r\n0\r\n\r\n",
        last_chunk_ends_with_lf=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0\n\n",
        last_chunk_of_many_zeros=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0000\r\n\r\n",
        last_chunk_with_an_extension=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0;x=1\r\n\r\n",
        trailer_with_a_bare_lf=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0\r\nA: b\n\r\n",
        trailer_without_a_colon=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0\r\nA\r\n\r\n",
        trailer_folded=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0\r\nA: b\r\n c\r\n\r\n",
        trailer_with_nul=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0\r\nA: \0\r\n\r\n",
        trailer_that_is_a_request=lambda body: b"%x\r\n" % len(body) + body + b"\r\n0\r\n" + SENTINEL,
        one_byte_each=lambda body: messages.chunked(body, size=1),
    ),
    **_headers(
        b"X: folded\r\n value",
        b"X: folded\r\n\tvalue",
        b"X:\r\n folded",
        b"X : space",
        b"X\t: tab",
        b" X: leading",
        b"\tX: leading",
        b": no name",
        b"no colon",
        b"X: a\rY: b",
        b"X: a\nY: b",
        b"X: a\r\r\nY: b",
        b"X: a\n\rY: b",
        b"\rX: a",
        b"\nX: a",
        b"X: a\0b",
        b"X: \0",
        b"X: a\x01b",
        b"X: a\x08b",
        b"X: a\x0bb",
        b"X: a\x0cb",
        b"X: a\x1fb",
        b"X: a\x7fb",
        b"X: a\x80\xffb",
        b"X: \xc3\xa4",
        b"X: a\tb",
        b"X:",
        b"X:   ",
        b"X:a",
        b"X: a: b",
        b"X\0: a",
        b"X\x01: a",
        b"X\x7f: a",
        b"X\xc3\xa4: a",
        b"X(y): a",
        b"X,y: a",
        b"X/y: a",
        b"X;y: a",
        b"X=y: a",
        b"X@y: a",
        b"X[y]: a",
        b"X{y}: a",
        b'X"y: a',
        b"X\\y: a",
        b"X y: a",
        b"X\ry: a",
        b"X\ny: a",
        b"!#$%&'*+-.^_`|~09azAZ: a",
    ),
    "bare LF throughout": lambda head, body: (
        head.replace(b"\r\n", b"\n") + b"Content-Length: %d\n\n" % len(body) + body
    ),
    "bare LF in the request line": lambda head, body: (
        head.replace(b"\r\n", b"\n", 1) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    ),
    "bare LF at the end of the head": lambda head, body: head + b"Content-Length: %d\r\n\n" % len(body) + body,
    "bare CR throughout": lambda head, body: (
        head.replace(b"\r\n", b"\r") + b"Content-Length: %d\r\r" % len(body) + body
    ),
    "bare CR at the end of the head": lambda head, body: head + b"Content-Length: %d\r\n\r" % len(body) + body,
    "blank lines first": lambda head, body: b"\r\n\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
    "a space first": lambda head, body: b" " + head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
    "two spaces in the request line": lambda head, body: (
        head.replace(b" /", b"  /", 1) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    ),
    "a tab in the request line": lambda head, body: (
        head.replace(b" /", b"\t/", 1) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    ),
    "a lower-case method": lambda head, body: (
        head.replace(b"POST", b"post", 1) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    ),
    "no length, and a body": lambda head, body: head + b"\r\n" + body,
}  # fmt: skip
HARMLESS = {
    "Content-Length: 00000000000000000000N": "h11 accepts at most 20 digits; the value is the same",
    "chunks: size of 21 digits": "the value is the same",
    "chunks: size of 1000 zeros": "the value is the same",
    "two spaces in the request line": "RFC 9112 (3) allows a server to split the line at any whitespace",
}
"""What the service may accept although h11 does not, and why no parser can read it differently."""
REJECTIONS = {400, 413, 431, 501}


@pytest.fixture
def body(channel: str) -> bytes:
    """The body of a valid token request."""
    return token_body(channel, unique("framing"))


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_rejected_once_or_read_as_h11_reads_it(direct: Address, key: str, body: bytes, name: str) -> None:
    request = CASES[name](_head(key), body)
    for split_at in (0, _end_of_head(request)):
        received = _send(direct, request, split_at)
        _assert_read_as_h11_reads(name, received, request, body)


@pytest.mark.parametrize("name", ["Content-Length: N", "Transfer-Encoding: chunked"])
def test_valid_requests_are_read_however_they_are_split(direct: Address, key: str, body: bytes, name: str) -> None:
    """Shows that the comparison itself accepts valid requests."""
    make = (_lengths if "Length" in name else _codings)(name)[name]
    request = make(_head(key), body)
    for split_at in (0, 1, _end_of_head(request), len(request) - 1):
        received = _send(direct, request, split_at)
        _assert_read_as_h11_reads(name, received, request, body)
        assert received.statuses == [201, 404]


@pytest.mark.long
def test_proxies_and_the_service_never_disagree(proxy: Address, direct: Address, key: str, channel: str) -> None:
    """Each case is sent through the proxy; then other clients use the proxy's connections to the service."""
    disagreements = []
    for name, case in CASES.items():
        body = token_body(channel, unique("framing"))
        request = case(_head(key), body)
        for split_at in (0, _end_of_head(request)):
            with Connection(proxy) as connection:
                connection.send(request[:split_at])
                if split_at:
                    wait_until_read(direct)
                connection.send(request[split_at:] + SENTINEL)
                received = connection.read_all(quiet_seconds=0.2)
            responses = [
                (viewer, exchange(proxy, messages.token(channel, viewer, key)))
                for viewer in (unique("victim"), unique("victim"), unique("victim"))
            ]
            if any((response.status, response.viewer) != (201, viewer) for viewer, response in responses):
                statuses = [response.status for _, response in responses]
                disagreements.append((name, split_at, received.statuses, statuses))
            if len(received.responses) > 2:
                disagreements.append((name, split_at, received.statuses, []))
    assert not disagreements


def _head(key: str) -> bytes:
    """The request line and the first headers of a token request."""
    return b"POST /v1/tokens HTTP/1.1\r\n" + messages.HOST + b"\r\n" + bearer(key) + b"\r\n"


def _end_of_head(request: bytes) -> int:
    ends = [request.find(blank) + len(blank) for blank in (b"\r\n\r\n", b"\n\n", b"\r\r") if blank in request]
    return min(ends) if ends else len(request) // 2


def _send(address: Address, request: bytes, split_at: int) -> Received:
    reference = oracle.parse(request + SENTINEL)
    with Connection(address) as connection:
        if split_at:
            connection.send(request[:split_at])
            wait_until_read(address)
        connection.send(request[split_at:] + SENTINEL)
        incomplete = not reference.requests and not reference.rejects_rest
        return connection.read_all(quiet_seconds=0.5 if incomplete else TIMEOUT_SECONDS)


def _assert_read_as_h11_reads(name: str, received: Received, request: bytes, body: bytes) -> None:
    h11_requests, h11_rejects = oracle.parse(request + SENTINEL)
    assert received.leftover == b""
    if not received.responses:
        assert (h11_requests, h11_rejects, received.ending) == ([], False, OPEN), (
            "no response, but h11 does not wait for more"
        )
        return
    first, *others = received.responses
    if first.status == 201 and name in HARMLESS:
        assert ([other.status for other in others], received.ending) == ([404], OPEN)
    elif first.status == 201:
        assert h11_requests, "accepted, but h11 rejects it"
        assert h11_requests[0].body == body
        if h11_requests[0].ends_connection:
            assert (others, received.ending) == ([], CLOSED)
        else:
            assert ([other.status for other in others], received.ending) == ([404], OPEN)
    elif first.status == 400 and not first.closes:
        assert h11_requests, "handled as a request, but h11 rejects it"
        assert h11_requests[0].body != body, "h11 reads the whole body"
        assert len(received.responses) == len(h11_requests) + h11_rejects
        assert received.responses[-1].closes is h11_rejects
    else:
        assert first.status in REJECTIONS
        assert others == []
        if first.closes:
            assert received.ending in ({CLOSED, RESET} if len(request) > 65_536 else {CLOSED})
        else:
            assert (first.status, h11_requests, h11_rejects) == (413, [], False), (
                "rejected, but the connection stays open"
            )
