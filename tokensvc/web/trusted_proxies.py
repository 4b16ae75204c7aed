"""Takes the client's address and scheme from the headers of trusted proxies.

Invariants
- Only the proxies that the settings name are trusted. uvicorn decides whether an address is one of them, and which
  address of a list is the client's (`trusted_hosts`). The scope is changed here, since uvicorn's middleware does that
  in a coroutine and the hot path awaits nothing; a test compares the two. What is forwarded and is not an address is
  ignored, unlike there: it would be stored, logged and counted as one.
- Behind a proxy the hot path is the same as without one, except that a head with a new client address or trace id
  differs from the last one, so it is parsed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tokensvc.web.context import Respond

_SCHEMES = frozenset({"http", "https", "ws", "wss"})


class TrustedProxies:
    """Wraps an application so that it sees the clients instead of their proxies."""

    def __init__(self, app: Any, trusted: Sequence[str]) -> None:
        self._app: Any = app
        """Also a `NowaitApplication`."""
        self._trusted = ProxyHeadersMiddleware(app, list(trusted)).trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._set_client(scope)
        await self._app(scope, receive, send)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """As the application's own."""
        self._set_client(scope)
        accepted: bool = self._app.handle_nowait(scope, body, respond)
        return accepted

    def flush(self) -> None:
        self._app.flush()

    def _set_client(self, scope: Scope) -> None:
        """Replace the proxy with the client; idempotent, since a repeated head brings the same scope again."""
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
            if host and _is_address(host):
                scope["client"] = (host, port)


@lru_cache(maxsize=4096)
def _is_address(text: str) -> bool:
    """Whether this is an address: a proxy may forward any text, which would go to logs and the store."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
