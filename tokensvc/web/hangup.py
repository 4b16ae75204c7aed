"""Closing a connection without an answer, which ASGI itself has no word for.

A server that was told to `offer_hang_up` tells its applications of it in the scope's `extensions`. Only the local IVS
asks for it, for faults on request.
"""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "tokensvc.hang_up"


def offer_hang_up(config: uvicorn.Config) -> None:
    """Let the applications of this server hang up; to be called before it runs."""
    base = config.http if isinstance(config.http, type) else HttpToolsProtocol

    class OffersHangUp(base):  # type: ignore[misc,valid-type]  # whichever protocol the server has
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._extensions = {EXTENSION: {"close": transport.close}}

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = self._extensions

    config.http = OffersHangUp


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection; nothing may have been sent. Raises RuntimeError on a server that does not offer it."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is None:
        raise RuntimeError("this server cannot hang up")
    extension["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
