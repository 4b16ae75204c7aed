"""Who the client is when a proxy speaks for it.

Rules of the file
- Only a proxy that the settings name is believed. Whether an address is one, and which address of a list is the
  client's, is uvicorn's decision (`trusted_hosts`). What follows from it is done here, since uvicorn's middleware does
  it in a coroutine and the hot path awaits nothing; a test compares the two.
- Behind a proxy the hot path is the same as without one. (A head that names each request's own client or trace is never
  the last one's, so it is parsed each time.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tokensvc.web.context import NowaitApplication, Respond

_SCHEMES = frozenset({"http", "https", "ws", "wss"})


class TrustedProxies:
    """An application that sees its clients where their proxies were."""

    def __init__(self, app: Any, trusted: Sequence[str]) -> None:
        self._app = app
        self._app: NowaitApplication = app
        self._trusted = ProxyHeadersMiddleware(app, list(trusted)).trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._rename(scope)
        await self._app(scope, receive, send)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """As the application's own."""
        self._rename(scope)
        return self._app.handle_nowait(scope, body, respond)

    def flush(self) -> None:
        self._app.flush()

    def _rename(self, scope: Scope) -> None:
        """Put the client in the proxy's place. Done twice to one scope it changes no more."""
        client = scope.get("client")
        if (client[0] if client else None) not in self._trusted:
            return
        scheme, addresses = "", []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":
                scheme = value.decode("latin1").strip()
            elif name == b"x-forwarded-for":
                addresses.append(value)
        if scheme in _SCHEMES:
            scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
        if addresses:
            host, port = self._trusted.get_trusted_client_address(b", ".join(addresses).decode("latin1"))
            if host:
                scope["client"] = (host, port)
