"""What the ASGI applications of the local IVS share: responses, the lifespan protocol, the base URL of a request."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from tokensvc.http.body import header

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


class HttpResponse(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


async def send_response(send: Send, response: HttpResponse, *, with_body: bool = True) -> None:
    """Send a response; for a HEAD without its body, with the headers of the GET."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.status not in (204, 304):  # RFC 9110, section 8.6
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})


async def run_lifespan(receive: Receive, send: Send) -> None:
    """ASGI's lifespan protocol for an application that has nothing to start or stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def base_url(scope: Scope, public_url: str | None) -> str:
    """The public URL if one is set, else the scheme, host and port of the request."""
    if public_url is not None:
        return public_url.rstrip("/")
    host = header(scope, b"host")
    if not _HOST.fullmatch(host):
        address, port = scope.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else str(address)
    return f"{scope.get('scheme', 'http')}://{host}"
