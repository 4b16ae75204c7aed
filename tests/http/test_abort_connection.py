"""Closing a connection without a response works only on a server that announces support for it."""

from __future__ import annotations

import asyncio
import http.client

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.support.servers import serving
from tokensvc.http.abort_connection import abort_connection


async def _never() -> Message:
    raise AssertionError("receive must not be called")


def test_a_server_without_the_extension_raises() -> None:
    with pytest.raises(RuntimeError, match="cannot abort a connection"):
        asyncio.run(abort_connection({"type": "http"}, _never))


def test_an_aborted_connection_closes_without_a_byte_and_the_next_is_served() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/gone":
            return await abort_connection(scope, receive)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        return None

    with serving(app) as url:
        for path, status in (("/gone", None), ("/", 204)):
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
            connection.request("GET", path)
            if status is None:
                with pytest.raises(http.client.RemoteDisconnected):
                    connection.getresponse()
            else:
                assert connection.getresponse().status == status
            connection.close()
