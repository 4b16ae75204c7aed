"""Closing a connection without a response, which ASGI itself does not define.

Invariants
- A server that supports it (`web/server.py`, `allow_abort`) announces it in the scope's `extensions`, as ASGI
  prescribes for extensions. Only the local IVS uses it, for injected faults.
"""

from __future__ import annotations

from starlette.types import Receive, Scope

EXTENSION = "tokensvc.abort_connection"


async def abort_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection before anything was sent. Raises RuntimeError on a server that does not support it."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    if extension is None:
        raise RuntimeError("this server cannot abort a connection")
    extension["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
