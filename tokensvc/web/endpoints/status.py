"""`GET /v1/status`."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive, Scope

from tokensvc.diagnostics.status import StatusFacts, status_view
from tokensvc.http.json_response import encoded
from tokensvc.http.problem_details import Answer
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext

SCOPE = "keys:read"


class Status:
    """The route, and where it reads: from the store at each request."""

    def __init__(self, authorized: RequestAuthenticator, read: Callable[[], StatusFacts]) -> None:
        self._authenticator = authorized
        self._read = read

    async def status(self, scope: Scope, _receive: Receive, exchange: RequestContext) -> Answer:
        self._authenticator.caller(scope, exchange, SCOPE)
        return encoded(status_view(await self._authenticator.run_in_thread(self._read)))
