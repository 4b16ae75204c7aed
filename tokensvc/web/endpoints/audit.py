"""`GET /v1/audit`: decode -> search -> encode.

Invariants
- Records concern all channels and viewers, so only a caller whose patterns include `*` may read them.
"""

from __future__ import annotations

from starlette.types import Receive, Scope

from tokensvc.audit.search import AuditSearch
from tokensvc.audit.views import AuditQuery
from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import ChannelNotAllowed
from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import Response
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.query_parameters import read_model

SCOPE = "audit:read"


class AuditRoute:
    """`GET /v1/audit`. It reads the store in a thread."""

    def __init__(self, authenticator: RequestAuthenticator, search: AuditSearch) -> None:
        self._authenticator = authenticator
        self._search = search

    async def page(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        caller = await self._authenticator.caller(scope, context, SCOPE)
        if not caller.allows_channel(ALL_CHANNELS):
            raise ChannelNotAllowed(
                "audit records concern all channels, so reading them requires the pattern * in the caller's policy"
            )
        query = read_model(scope, AuditQuery)
        return json_response(await self._authenticator.run_in_thread(lambda: self._search.page(query)))
