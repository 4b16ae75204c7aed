"""`tokensvc ivs serve` with slow clients: the API, the edge and the management listener, with shortened time-outs: 1
second for a request instead of 75, and 0.3 for a body instead of 10."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.hostile.wire import CLOSED, OPEN, Address, Connection
from tests.support.processes import environment, started

pytestmark = pytest.mark.long

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
INTERFACES = {
    "API": ("ivsEndpoint", b"POST /ListChannels"),
    "edge": ("ivsEndpoint", b"GET /api/video/v1/us-east-1.000000000000.channel.a.m3u8"),
    "management": ("managementUrl", b"POST /clock"),
}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Address]]:
    """The address of each interface."""
    folder = tmp_path_factory.mktemp("slow")
    info_file = folder / "info.json"
    arguments = [sys.executable, "-c", SERVE, "ivs", "serve", "--memory", "--port", "0", "--info-file", str(info_file)]
    with started(arguments, folder, environment(folder / "home"), "ivs") as process:
        process.wait_until(info_file.exists, "the local IVS writes its connection info")
        info = json.loads(info_file.read_text())
        urls = {interface: urlsplit(info[field]) for interface, (field, _) in INTERFACES.items()}
        yield {interface: Address(str(url.hostname), url.port or 0) for interface, url in urls.items()}


def request(interface: str, *headers: bytes) -> bytes:
    lines = [INTERFACES[interface][1] + b" HTTP/1.1", b"Host: localhost", *headers]
    return b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_incomplete_request_times_out(addresses: dict[str, Address], interface: str) -> None:
    unfinished = {
        "nothing": b"",
        "half a head": request(interface),
        "a head without its body": request(interface, b"Content-Length: 100", b""),
        "half a body": request(interface, b"Content-Length: 100", b"") + b"half",
        "half a chunk": request(interface, b"Transfer-Encoding: chunked", b"") + b"ff\r\nhalf",
    }
    connections = {name: Connection(addresses[interface]) for name in unfinished}
    endings = {}
    started_at = time.monotonic()
    try:
        for name, connection in connections.items():
            connection.send(unfinished[name])
        for name, connection in connections.items():
            endings[name] = connection.read_all(quiet_seconds=10 * REQUEST_SECONDS).ending
    finally:
        for connection in connections.values():
            connection.socket.close()
    assert endings == dict.fromkeys(unfinished, CLOSED)
    assert time.monotonic() - started_at < 10 * REQUEST_SECONDS


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_idle_connection_is_closed(addresses: dict[str, Address], interface: str) -> None:
    with Connection(addresses[interface]) as connection:
        connection.send(request(interface, b"Content-Length: 0", b""))
        assert connection.read_response().status in (403, 404, 400)
        assert connection.read_all(quiet_seconds=10 * REQUEST_SECONDS).ending == CLOSED


@pytest.mark.parametrize(
    ("interface", "length"),
    [(interface, 10 * 1024**3) for interface in INTERFACES] + [("API", 1024**2 + 1), ("management", 64 * 1024 + 1)],
)
def test_a_too_large_content_length_is_rejected_before_the_body(
    addresses: dict[str, Address], interface: str, length: int
) -> None:
    with Connection(addresses[interface]) as connection:
        connection.send(request(interface, b"Content-Length: %d" % length, b""))
        assert connection.read_response().status == 413, "not 408, as after waiting for a body"


@pytest.mark.parametrize(("interface", "code"), [("API", "RequestTimeoutException"), ("management", "request_timeout")])
def test_a_missing_body_times_out(addresses: dict[str, Address], interface: str, code: str) -> None:
    with Connection(addresses[interface]) as connection:
        connection.send(request(interface, b"Content-Length: 100", b""))
        response = connection.read_response()
        assert response.status == 408
        assert code in f"{response.headers} {response.json}"


def test_an_event_stream_does_not_time_out(addresses: dict[str, Address]) -> None:
    with Connection(addresses["management"]) as connection:
        connection.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.read_all(quiet_seconds=3 * REQUEST_SECONDS).ending == OPEN
