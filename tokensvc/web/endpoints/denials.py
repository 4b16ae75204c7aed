"""`/v1/denials…`: decode -> add, list or remove -> encode."""

from __future__ import annotations

from starlette.types import Receive, Scope

from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import Response
from tokensvc.revocations.denials import DenialService
from tokensvc.revocations.requests import DenialQuery, read_denial
from tokensvc.revocations.views import CreatedDenialsView, DenialView
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.endpoints.revocations import READ, REQUEST_MAX_BYTES, WRITE
from tokensvc.web.query_parameters import read_model
from tokensvc.web.requesters import requester_of


class DenialRoutes:
    """The three denial routes. They call the store in threads."""

    def __init__(self, authenticator: RequestAuthenticator, service: DenialService) -> None:
        self._authenticator = authenticator
        self._service = service

    async def list(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/denials`."""
        caller = await self._authenticator.caller(scope, context, READ)
        query = read_model(scope, DenialQuery)
        return json_response(await self._authenticator.run_in_thread(lambda: self._service.page(caller, query)))

    async def add(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/denials`."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, WRITE, REQUEST_MAX_BYTES)
        request = read_denial(body)
        requester = requester_of(caller, context)
        written = await self._authenticator.run_in_thread(lambda: self._service.add(caller, request, requester))
        return json_response(CreatedDenialsView(denials=[DenialView.of(denial) for denial in written]), 201, "denied")

    async def remove(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`DELETE /v1/denials/{id}`."""
        caller = await self._authenticator.caller(scope, context, WRITE)
        denial_id = scope["path_params"]["id"]
        requester = requester_of(caller, context)
        await self._authenticator.run_in_thread(lambda: self._service.remove(caller, denial_id, requester))
        return Response(204, b"", (), "ok")
