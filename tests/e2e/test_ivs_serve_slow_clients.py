"""`tokensvc ivs serve` and clients that take their time: the API, the edge and the management listener, in a process
whose time-outs are shortened: 1 second for a request instead of 75, and 0.3 for a body instead of 10."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.hostile.wire import CLOSED, OPEN, Address, Connection
from tests.support.processes import environment, started

REQUEST_SECONDS = 1
BODY_SECONDS = 0.3
SERVE = f"""
from tokensvc.http import body
from tokensvc.web import protocol
protocol.KEEP_ALIVE_SECONDS = {REQUEST_SECONDS}
body.BODY_TIMEOUT_SECONDS = {BODY_SECONDS}
from tokensvc.cli import main
main()
"""
FACES = {
    "API": ("ivsEndpoint", b"POST /ListChannels"),
    "edge": ("ivsEndpoint", b"GET /api/video/v1/us-east-1.000000000000.channel.a.m3u8"),
    "management": ("managementUrl", b"POST /clock"),
}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Address]]:
    """By face, where it listens."""
    folder = tmp_path_factory.mktemp("slow")
    facts_file = folder / "facts.json"
    arguments = [sys.executable, "-c", SERVE, "ivs", "serve", "--memory", "--port", "0", "--info-file", str(facts_file)]
    with started(arguments, folder, environment(folder / "home"), "ivs") as process:
        process.awaits(facts_file.exists, "it wrote its facts")
        facts = json.loads(facts_file.read_text())
        urls = {face: urlsplit(facts[fact]) for face, (fact, _) in FACES.items()}
        yield {face: Address(str(url.hostname), url.port or 0) for face, url in urls.items()}


def request(face: str, *headers: bytes) -> bytes:
    lines = [FACES[face][1] + b" HTTP/1.1", b"Host: ivs.test", *headers]
    return b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize("face", FACES)
def test_what_is_not_completed_is_not_waited_for(addresses: dict[str, Address], face: str) -> None:
    unfinished = {
        "nothing": b"",
        "half a head": request(face),
        "a head without its body": request(face, b"Content-Length: 100", b""),
        "half a body": request(face, b"Content-Length: 100", b"") + b"half",
        "half a chunk": request(face, b"Transfer-Encoding: chunked", b"") + b"ff\r\nhalf",
    }
    connections = {name: Connection(addresses[face]) for name in unfinished}
    endings = {}
    began = time.monotonic()
    try:
        for name, connection in connections.items():
            connection.send(unfinished[name])
        for name, connection in connections.items():
            endings[name] = connection.read_all(quiet_seconds=4 * REQUEST_SECONDS).ending
    finally:
        for connection in connections.values():
            connection.socket.close()
    assert endings == dict.fromkeys(unfinished, CLOSED)
    assert time.monotonic() - began < 4 * REQUEST_SECONDS


@pytest.mark.parametrize("face", FACES)
def test_an_idle_connection_is_closed(addresses: dict[str, Address], face: str) -> None:
    with Connection(addresses[face]) as connection:
        connection.send(request(face, b"Content-Length: 0", b""))
        assert connection.read_response().status in (403, 404, 400)
        assert connection.read_all(quiet_seconds=4 * REQUEST_SECONDS).ending == CLOSED


@pytest.mark.parametrize(
    ("face", "length"),
    [(face, 10 * 1024**3) for face in FACES] + [("API", 1024**2 + 1), ("management", 64 * 1024 + 1)],
)
def test_a_length_that_is_too_large_is_refused_before_the_body(
    addresses: dict[str, Address], face: str, length: int
) -> None:
    with Connection(addresses[face]) as connection:
        began = time.monotonic()
        connection.send(request(face, b"Content-Length: %d" % length, b""))
        assert connection.read_response().status == 413
        assert time.monotonic() - began < REQUEST_SECONDS / 2


@pytest.mark.parametrize(("face", "word"), [("API", "RequestTimeoutException"), ("management", "request_timeout")])
def test_a_body_that_does_not_come_is_a_time_out(addresses: dict[str, Address], face: str, word: str) -> None:
    with Connection(addresses[face]) as connection:
        connection.send(request(face, b"Content-Length: 100", b""))
        response = connection.read_response()
        assert response.status == 408
        assert word in f"{response.headers} {response.json}"


def test_an_event_stream_is_not_idle(addresses: dict[str, Address]) -> None:
    with Connection(addresses["management"]) as connection:
        connection.send(b"GET /events HTTP/1.1\r\nHost: ivs.test\r\n\r\n")
        assert connection.read_all(quiet_seconds=3 * REQUEST_SECONDS).ending == OPEN
