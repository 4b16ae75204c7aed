"""A worker with as many connections as it may have closes idle and slow ones for those that arrive."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.deployment import Deployment, Service

MAX_CONNECTIONS = 16
WITHIN_SECONDS = 5
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


class Sockets(contextlib.ExitStack):
    """Client connections to a service."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        url = urlsplit(service.url)
        self.address = str(url.hostname), url.port or 0

    def open(self, send: bytes = LIVE) -> socket.socket:
        client = self.enter_context(socket.create_connection(self.address, timeout=WITHIN_SECONDS))
        client.sendall(send)
        return client


def status(client: socket.socket) -> int:
    """The status of a response, which is read whole; 0 if the connection was closed instead."""
    response = http.client.HTTPResponse(client)
    try:
        response.begin()
        response.read()
    except (ConnectionResetError, http.client.RemoteDisconnected):
        return 0
    return response.status


def is_open(client: socket.socket) -> bool:
    """Whether the connection takes another request."""
    try:
        client.sendall(LIVE)
    except OSError:
        return False
    return status(client) == 200


def test_new_connections_replace_the_longest_idle_and_none_with_a_request(
    deployment: Deployment, key: str, channel: Any
) -> None:
    with deployment.serve(MAX_CONNECTIONS=str(MAX_CONNECTIONS)) as service, Sockets(service) as sockets:
        body = json.dumps({"channelArn": channel["arn"]}).encode()
        head = f"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n"
        busy = sockets.open(head.encode() + b"Content-Type: application/json\r\n\r\n" + body[:5])
        idle = [sockets.open() for _ in range(MAX_CONNECTIONS - 1)]
        assert {status(client) for client in idle} == {200}
        assert is_open(idle[0]), "used again, so that others are idle for longer"
        started_at = time.monotonic()
        new = [sockets.open() for _ in range(3)]
        assert {status(client) for client in new} == {200}
        assert time.monotonic() - started_at < WITHIN_SECONDS
        assert [is_open(client) for client in idle[:5]] == [True, False, False, False, True]
        flood = [sockets.open() for _ in range(3 * MAX_CONNECTIONS)]
        assert {status(client) for client in flood} == {200}
        busy.sendall(body[5:])
        assert status(busy) == 201
        assert "idle connections closed" in service.process.err


@pytest.mark.long
def test_clients_that_never_complete_a_head_do_not_keep_others_out(deployment: Deployment) -> None:
    with deployment.serve(MAX_CONNECTIONS=str(MAX_CONNECTIONS)) as service, Sockets(service) as sockets:
        slow = [sockets.open(b"GET /livez HTTP/1.1\r\nX: ") for _ in range(2 * MAX_CONNECTIONS)]
        until = time.monotonic() + 15
        new = sockets.open()
        new.settimeout(20)
        while time.monotonic() < until:
            for client in slow:
                with contextlib.suppress(OSError):
                    client.sendall(b"x")
            time.sleep(1)
        assert status(new) == 200
