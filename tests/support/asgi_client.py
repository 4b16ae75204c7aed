"""Calls an ASGI application without a server, so that tests see each message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.types import ASGIApp, Message

from tokensvc.http.problem_details import Response
from tokensvc.web.context import RequestContext


class AsgiResponse:
    """The response."""

    def __init__(self, sent: list[Message]) -> None:
        self.sent = sent
        self.status: int = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in sent[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def scope_of(method: str = "POST", path: str = "/v1/tokens", **headers: str) -> dict[str, Any]:
    """The ASGI scope of a request."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [
            (name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
        "client": ("192.0.2.7", 5000),
        "server": ("127.0.0.1", 80),
    }


def make_receive(
    body: bytes | Sequence[bytes], then: Callable[[], object] = lambda: None
) -> Callable[[], Awaitable[Message]]:
    """A body in one part, or in several; `then` is called before the last part is received."""
    pieces = [body] if isinstance(body, bytes) else list(body)

    async def receive() -> Message:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        if not pieces:
            then()
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    return receive


async def request(
    app: ASGIApp,
    scope: dict[str, Any],
    body: bytes = b"",
    receive: Callable[[], Awaitable[Message]] | None = None,
) -> AsgiResponse:
    """The application's response."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive or make_receive(body), send)
    return AsgiResponse(sent)


Endpoint = Callable[..., Awaitable[Response]]


def response_of(endpoint: Endpoint, scope: dict[str, Any] | None = None, body: Any = None, **kwargs: Any) -> Response:
    """An endpoint's response, or the error that it raises, as a response."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    context = RequestContext("request-1", kwargs.pop("started_at", 1000.0))
    receive = kwargs.pop("receive", None) or make_receive(content)

    async def run() -> Response:
        return await endpoint(scope or scope_of(), receive, context)

    return asyncio.run(run())
