"""`GET /v1/status`."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive, Scope

from tokensvc.diagnostics.status import StatusData, status_view
from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import Response
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext

SCOPE = "keys:read"


class StatusRoute:
    """`GET /v1/status`, read from the store at each request."""

    def __init__(self, authenticator: RequestAuthenticator, read: Callable[[], StatusData]) -> None:
        self._authenticator = authenticator
        self._read = read

    async def status(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        await self._authenticator.caller(scope, context, SCOPE)
        return json_response(status_view(await self._authenticator.run_in_thread(self._read)))
