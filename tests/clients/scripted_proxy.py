"""A proxy in front of tokensvc that passes requests on, or responds itself as a test scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.servers import serving


class ScriptedProxy:
    """Its responses: those in `script`, in their order, and then those of tokensvc."""

    def __init__(self, url: str) -> None:
        self.url = ""
        self.script: deque[Response] = deque()
        self.requests = 0
        self._target = url

    async def handle(self, request: Request) -> Response:
        self.requests += 1
        body = await request.body()
        if self.script:
            return self.script.popleft()
        async with httpx.AsyncClient() as client:
            names = ("authorization", "content-type", "accept")
            headers = {name: request.headers[name] for name in names if name in request.headers}
            passed = await client.request(
                request.method, self._target + request.url.path, content=body, headers=headers
            )
        headers = {
            name: value for name, value in passed.headers.items() if name not in ("content-length", "connection")
        }
        return Response(passed.content, passed.status_code, headers)


@contextmanager
def scripted_proxy(url: str) -> Iterator[ScriptedProxy]:
    """A proxy in front of the service at this URL, while the block runs."""
    proxy = ScriptedProxy(url)
    app = Starlette(routes=[Route("/{path:path}", proxy.handle, methods=["GET", "POST"])])
    with serving(app) as proxy.url:
        yield proxy
