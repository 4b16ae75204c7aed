"""What a request's head may contain: Host, Authorization, version, size, target.

Invariants
- A head that breaks a rule gets one response, and the connection is closed.
- A head of exactly 16 KiB passes and one byte more does not, whatever precedes it and however it is split.
- No target is logged or causes a traceback.
"""

from __future__ import annotations

import pytest

from tests.hostile import messages
from tests.hostile.messages import HOST, LIVE_LINE, SENTINEL, bearer, token_body, unique
from tests.hostile.wire import CLOSED, LIVE, OPEN, RESET, Address, Connection, Received, exchange, wait_until_read
from tests.support.deployment import Service

HEAD_MAX_BYTES = 16 * 1024
READ_BYTES = 65_536
"""A connection that is closed with more unread data than this may be reset."""

BAD_HOSTS = {
    "none": b"",
    "two": HOST + b"\r\nHost: other.example\r\n",
    "two that are equal": HOST + b"\r\n" + HOST + b"\r\n",
    "a space": b"Host: a b\r\n",
    "a path": b"Host: a/b\r\n",
    "a user": b"Host: a@b\r\n",
    "a query": b"Host: a?b\r\n",
    "a fragment": b"Host: a#b\r\n",
    "a list": b"Host: a, b\r\n",
    "a backslash": b"Host: a\\b\r\n",
    "a port without digits": b"Host: a:b\r\n",
    "an open bracket": b"Host: [::1\r\n",
    "not ASCII": b"Host: \xc3\xa4\r\n",
    "a tab": b"Host: a\tb\r\n",
}


@pytest.mark.parametrize("bad", BAD_HOSTS)
@pytest.mark.parametrize("pipelined", [False, True], ids=["first", "pipelined"])
def test_http_1_1_requires_one_valid_host(direct: Address, bad: str, pipelined: bool) -> None:
    broken = b"GET /livez HTTP/1.1\r\n" + BAD_HOSTS[bad] + b"\r\n"
    _assert_rejected(_send(direct, broken, pipelined), 400, pipelined)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"A.example",
        b"a:80",
        b"a:",
        b"127.0.0.1:8080",
        b"[::1]",
        b"[::1]:8080",
        b"a_b.example",
        b"xn--4ca.example",
    ],
)
def test_common_hosts_are_accepted(direct: Address, host: bytes) -> None:
    received = _send(direct, b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n" + SENTINEL, pipelined=False)
    assert (received.statuses, received.ending) == ([200, 404], OPEN)


@pytest.mark.parametrize("headers", [b"", b"Connection: keep-alive\r\n", b"Connection: close\r\n"])
def test_http_1_0_needs_no_host(entry: Address, direct: Address, headers: bytes) -> None:
    """Load balancers send such requests as health checks."""
    with Connection(entry) as connection:
        connection.send(b"GET /livez HTTP/1.0\r\n" + headers + b"\r\n")
        assert connection.read_response().status == 200
        if entry == direct and b"keep-alive" not in headers:
            assert connection.read_all().ending == CLOSED


@pytest.mark.parametrize("pipelined", [False, True], ids=["first", "pipelined"])
@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/tokens/batch", "/v1/revocations"])
@pytest.mark.parametrize("second", [b"Bearer tsk_0_0", b"", None], ids=["different", "empty", "equal"])
def test_two_authorization_headers_are_rejected(
    direct: Address, key: str, channel: str, path: str, pipelined: bool, second: bytes | None
) -> None:
    other = bearer(key) if second is None else b"Authorization: " + second
    for headers in ([bearer(key), other], [other, bearer(key)]):
        broken = messages.post(path, token_body(channel, unique("two")), *headers)
        received = _send(direct, broken, pipelined)
        assert received.statuses == ([200, 400] if pipelined else [400])
        assert received.leftover == b""


@pytest.mark.parametrize(
    "version",
    [b"HTTP/2.0", b"HTTP/2", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/3.0", b"HTTP/11", b"HTTP/1.10", b"HTTP/01.1",
     b"HTTP/1", b"HTTP/", b"http/1.1", b"HTTPS/1.1", b"ICE/1.0", b"RTSP/1.0", b"HTTP/1.1 x", b"HTTP/1.1\t",
     b"HTTP /1.1"],
)  # fmt: skip
@pytest.mark.parametrize("pipelined", [False, True], ids=["first", "pipelined"])
def test_other_versions_are_rejected(direct: Address, version: bytes, pipelined: bool) -> None:
    received = _send(direct, messages.head(b"GET /livez " + version), pipelined)
    _assert_rejected(received, 400, pipelined, 505)


@pytest.mark.parametrize(
    "line", [b"GET /livez", b"GET /livezHTTP/1.1", b"GET /livez?HTTP/1.1", b"GET", b"/livez", b"GET /livez\tHTTP/1.1"]
)
@pytest.mark.parametrize("pipelined", [False, True], ids=["first", "pipelined"])
def test_a_request_without_a_version_is_rejected(direct: Address, line: bytes, pipelined: bool) -> None:
    for request in (messages.head(line), line + b"\r\n" + LIVE, line + b"\r\n\r\n" + LIVE):
        _assert_rejected(_send(direct, request, pipelined), 400, pipelined, 505)


def test_a_head_of_exactly_16_kib_passes_split_anywhere(direct: Address) -> None:
    _assert_passes_split_anywhere(direct, _head_of(HEAD_MAX_BYTES))


def test_a_head_of_exactly_16_kib_passes_after_another_request(direct: Address) -> None:
    with Connection(direct) as connection:
        connection.send(LIVE + _head_of(HEAD_MAX_BYTES) + SENTINEL)
        received = connection.read_all()
    assert (received.statuses, received.ending) == ([200, 200, 404], OPEN)


@pytest.mark.parametrize("size", [HEAD_MAX_BYTES + 1, HEAD_MAX_BYTES + 600, 17_408, 40_000, 300_000])
@pytest.mark.parametrize("pipelined", [False, True], ids=["first", "pipelined"])
def test_a_larger_head_is_rejected_in_one_packet(direct: Address, size: int, pipelined: bool) -> None:
    endings = (CLOSED,) if size < READ_BYTES else (CLOSED, RESET)
    _assert_rejected(_send(direct, _head_of(size), pipelined), 431, pipelined, endings=endings)


@pytest.mark.parametrize("size", [HEAD_MAX_BYTES + 1, 17_408, 40_000])
def test_a_larger_head_is_rejected_split_anywhere(direct: Address, size: int) -> None:
    head = _head_of(size)
    split_positions = [1, 20, 60, size // 2, HEAD_MAX_BYTES - 1, HEAD_MAX_BYTES, HEAD_MAX_BYTES + 1, size - 4, size - 1]
    for before in (b"", LIVE):
        for at in {split_at for split_at in split_positions if split_at < size}:
            with Connection(direct) as connection:
                connection.send(before + head[:at])
                wait_until_read(direct)
                connection.send(head[at:])
                _assert_rejected(connection.read_all(), 431, bool(before))


@pytest.mark.parametrize("where", ["target", "many headers", "name"])
def test_a_large_head_is_rejected_whichever_part_is_large(direct: Address, where: str) -> None:
    filler = b"x" * HEAD_MAX_BYTES
    heads = {
        "target": messages.head(b"GET /livez?" + filler + b" HTTP/1.1"),
        "many headers": messages.head(LIVE_LINE, *[b"X-%d: 1" % number for number in range(3_000)]),
        "name": messages.head(LIVE_LINE, filler + b": 1"),
    }
    for pipelined in (False, True):
        _assert_rejected(_send(direct, heads[where], pipelined), 431, pipelined)


def test_a_large_head_with_a_body_is_one_request(direct: Address, key: str, channel: str) -> None:
    """The body of a rejected request is not parsed."""
    broken = messages.post("/v1/tokens", SENTINEL * 5, b"X: " + b"x" * HEAD_MAX_BYTES)
    for pipelined in (False, True):
        _assert_rejected(_send(direct, broken, pipelined), 431, pipelined)


@pytest.mark.parametrize(
    "target",
    [
        b"http://tokens.example/livez",
        b"http://other.example:8080/livez",
        b"https://tokens.example/livez?x=1",
        b"/livez?x",
    ],
)
def test_the_absolute_form_is_routed_by_its_path(direct: Address, target: bytes) -> None:
    received = _send(direct, messages.head(b"GET " + target + b" HTTP/1.1") + SENTINEL, pipelined=False)
    assert (received.statuses, received.ending) == ([200, 404], OPEN)


def test_the_absolute_form_reaches_the_token_route(entry: Address, key: str, channel: str) -> None:
    viewer = unique("absolute")
    request = messages.token(channel, viewer, key).replace(b"/v1/tokens", b"http://tokens.example/v1/tokens", 1)
    response = exchange(entry, request)
    assert (response.status, response.viewer) == (201, viewer)


BAD_TARGETS = [
    b"http://[::1]:x/%b",
    b"http://[::1/%b",
    b"http://a:99999/%b",
    b"http://a b/%b",
    b"http://@/%b",
    b"http:///%b",
    b"http:%b",
    b"ftp://a/%b",
    b"//[/%b",
    b"*",
    b"*%b",
    b"%b",
    b"?%b",
    b"#%b",
    b"\\%b",
    b"/\xc3\xa4/%b",
    b"/\xff%b",
    b"/\x00%b",
    b"/\x01%b",
    b"/\x7f%b",
    b"/\t%b",
    b"/ %b",
    b"/%b#fragment",
    b"a@b:1/%b",
    b"[::1]:80/%b",
    b":/%b",
    b"javascript:%b",
]
NOT_A_ROUTE = {b"http:///%b", b"http://a:99999/%b", b"http://@/%b", b"ftp://a/%b", b"//[/%b", b"/%b#fragment"}
"""May be read as the path of an unknown route."""


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_a_bad_target_is_rejected_and_not_logged(direct: Address, service: Service, target: bytes) -> None:
    marker, log_start = unique("viewer-address"), len(service.process.err)
    marked_target = target.replace(b"%b", marker.encode())
    for method in (b"GET", b"POST", b"OPTIONS"):
        statuses = {400, 404} if target in NOT_A_ROUTE or (method, target) == (b"OPTIONS", b"*") else {400}
        for pipelined in (False, True):
            data = messages.head(method + b" " + marked_target + b" HTTP/1.1") + SENTINEL
            received = _send(direct, data, pipelined, sentinels=2 if 404 in statuses else 1)
            assert received.statuses[: int(pipelined)] == [200] * int(pipelined), received
            final, *others = received.responses[int(pipelined) :]
            assert final.status in statuses, (method, received)
            if final.status == 400:
                assert (others, final.closes, received.ending) == ([], True, CLOSED)
            else:
                assert [other.status for other in others] == [404]
    assert exchange(direct, LIVE).status == 200
    log = service.process.err[log_start:]
    assert marker not in log
    assert "Traceback" not in log
    assert "internal error" not in log


def _head_of(size: int) -> bytes:
    """A valid head of this many bytes, including the blank line."""
    start = messages.head(LIVE_LINE, b"X: ")
    return start[:-4] + b"x" * (size - len(start)) + b"\r\n\r\n"


def _send(address: Address, data: bytes, pipelined: bool, sentinels: int = 1) -> Received:
    """Send the data, alone or in one packet after a valid request, and return everything received."""
    with Connection(address) as connection:
        connection.send(LIVE + data if pipelined else data)
        return connection.read_all(sentinels=sentinels)


def _assert_rejected(
    received: Received, status: int, pipelined: bool, alternative_status: int = 0, endings: tuple[str, ...] = (CLOSED,)
) -> None:
    before = [200] if pipelined else []
    assert received.statuses in ([*before, status], [*before, alternative_status or status]), received
    assert received.responses[-1].closes
    assert received.leftover == b""
    assert received.ending in endings


def _assert_passes_split_anywhere(address: Address, head: bytes) -> None:
    """Split the head at about 100 positions in parallel, each with and without a valid request before it."""
    split_positions = sorted({*range(1, len(head), len(head) // 90), *range(len(head) - 12, len(head))})
    connections = [(Connection(address), at, before) for at in split_positions for before in (b"", LIVE)]
    try:
        for connection, at, before in connections:
            connection.send(before + head[:at])
        wait_until_read(address)
        for connection, at, _ in connections:
            connection.send(head[at:])
        wait_until_read(address)
        for connection, at, before in connections:
            connection.finish()
            received = connection.read_all()
            assert received.statuses == ([200, 200] if before else [200]), at
    finally:
        for connection, *_ in connections:
            connection.socket.close()
