"""Hanging up is offered by the server, and never taken for granted."""

from __future__ import annotations

import asyncio
import http.client

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.support.servers import serving
from tokensvc.http.abort_connection import abort_connection


async def _never() -> Message:
    raise AssertionError("nobody should ask")


def test_a_server_that_does_not_offer_it_is_told() -> None:
    with pytest.raises(RuntimeError, match="cannot abort a connection"):
        asyncio.run(abort_connection({"type": "http"}, _never))


def test_a_hung_up_connection_ends_without_a_byte_and_the_next_one_is_served() -> None:
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
