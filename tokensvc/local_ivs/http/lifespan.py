"""What the local faces share of HTTP: an answer, and where a caller reached us."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from tokensvc.http.body import header

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


class HttpResponse(NamedTuple):
    """Status, headers and body, ready to be sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


async def send_response(send: Send, answer: HttpResponse, *, with_body: bool = True) -> None:
    """Send it; without its body for a HEAD, whose headers are those of the GET."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})


async def run_lifespan(receive: Receive, send: Send) -> None:
    """ASGI's lifespan for an application that has nothing to start or stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def base_url(scope: Scope, public_url: str | None) -> str:
    """Scheme, host and port under which the caller reached us, unless a public URL is set."""
    if public_url is not None:
        return public_url.rstrip("/")
    host = header(scope, b"host")
    if not _HOST.fullmatch(host):
        address, port = scope.get("server") or ("localhost", None)
        host = f"{address}:{port}" if port else str(address)
    return f"{scope.get('scheme', 'http')}://{host}"
