"""Closing a connection without an answer, which ASGI itself has no word for.

A server that was told to `offer_hang_up` tells its applications of it in the scope's `extensions`. Only the local IVS
asks for it, for faults on request.
"""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.types import Receive, Scope

from tokensvc.web.protocol import Protocol

EXTENSION = "tokensvc.hang_up"


class _OffersHangUp(Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in Protocol
        super().connection_made(transport)
        self.extensions = {EXTENSION: {"close": transport.close}}


def offer_hang_up(config: uvicorn.Config) -> None:
    """Let the applications of this server hang up; to be called before it runs."""
    config.http = _OffersHangUp


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection; nothing may have been sent. Raises RuntimeError on a server that does not offer it."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is None:
        raise RuntimeError("this server cannot hang up")
    extension["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
