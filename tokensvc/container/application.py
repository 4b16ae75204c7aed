"""Builds the ASGI application from a Service.

`build_application` builds the whole service for `serve`; `demo` adds the local IVS's routes to it.
`build_worker_application` builds the application of `worker`, which only runs background tasks.

Invariants
- Start: start every background task, wait for the first run of the first one (the snapshot), then serve requests.
  Stop: once no request is being served, stop all tasks concurrently; each releases its lease after its last run.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from tokensvc.container.logs import process_log
from tokensvc.container.service import Service, WorkerService
from tokensvc.http.garbage_collection import freeze_gc
from tokensvc.http.problem_details import problem_response
from tokensvc.revocations.denials import DenialService
from tokensvc.runner import Lifecycle
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import Respond
from tokensvc.web.endpoints.denials import DenialRoutes
from tokensvc.web.endpoints.health import Readiness
from tokensvc.web.endpoints.keys import KeyRoutes
from tokensvc.web.endpoints.revocations import RevocationRoutes
from tokensvc.web.endpoints.status import StatusRoute
from tokensvc.web.endpoints.tokens import TokenRoutes
from tokensvc.web.routes import admin_operations, admin_routes, public_routes, worker_routes


@dataclass(frozen=True)
class AsgiService:
    """The service as one ASGI application, and its readiness, which a stopping worker turns off."""

    asgi: ASGIApp
    readiness: Readiness


def build_application(
    service: Service, *, admin_port: int | None = None, extra_routes: Sequence[BaseRoute] = ()
) -> AsgiService:
    """Build the application. `admin_port` is the bound port that serves the admin routes, if any."""
    settings, snapshot = service.settings, service.snapshots.read
    lease_seconds, sign_many = settings.snapshot_lease_seconds, service.signer_choice.signer.sign_many
    authenticator = RequestAuthenticator(snapshot, service.clock, lease_seconds=lease_seconds)
    tokens = TokenRoutes(
        authenticator=authenticator,
        channel_cache=service.channel_cache,
        metrics=service.metrics,
        sign_many=sign_many,
        new_uuid=uuid.uuid4,
    )
    readiness = Readiness(
        snapshot=snapshot, clock=service.clock, problems=service.tasks.heartbeats.problems, lease_seconds=lease_seconds
    )
    keys = KeyRoutes(
        authenticator=authenticator,
        make_context=service.make_context,
        workers=service.store.workers,
        versions=service.store.versions,
        regions=service.regions,
    )
    revocation_service = service.revocation_service
    revocations = RevocationRoutes(authenticator, revocation_service)
    denials = DenialRoutes(
        authenticator,
        DenialService(
            store=service.store.denials,
            subjects=revocation_service.subjects,
            clock=revocation_service.clock,
            regions=revocation_service.regions,
        ),
    )
    admin = admin_operations(service.metrics, StatusRoute(authenticator, service.status_data), keys)
    access_log = (
        AccessLog(process_log.writer, service.clock, as_json=settings.log_format == "json")
        if settings.access_log
        else None
    )
    fallback = Starlette(
        routes=list(extra_routes),
        exception_handlers={HTTPException: _route_not_found},
        lifespan=lambda _app: _run(service.lifecycle),
    )
    public = public_routes(tokens, revocations, denials, readiness, snapshot, [] if admin_port else admin)
    public_app = Application(
        routes=public, fallback=fallback, clock=service.clock, access_log=access_log, sign_many=sign_many
    )
    if admin_port is None:
        return AsgiService(public_app, readiness)
    admin_app = Application(
        routes=admin_routes(admin, readiness), fallback=fallback, clock=service.clock, access_log=access_log
    )
    return AsgiService(_ByPort(public_app, admin_port, admin_app), readiness)


def build_worker_application(service: WorkerService) -> ASGIApp:
    """Build the application of a process that only runs background tasks, with its few routes."""
    fallback = Starlette(
        exception_handlers={HTTPException: _route_not_found}, lifespan=lambda _app: _run(service.lifecycle)
    )
    return Application(routes=worker_routes(service.metrics), fallback=fallback, clock=service.clock, access_log=None)


class _ByPort:
    """Two listeners in one server: requests to the admin port get the admin routes, all others the public ones."""

    def __init__(self, public: Application, admin_port: int, admin: Application) -> None:
        self._public = public
        self._admin_port = admin_port
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope)(scope, receive, send)

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        return self._app(scope).handle_nowait(scope, body, respond)

    def flush(self) -> None:
        self._public.flush()
        self._admin.flush()

    def _app(self, scope: Scope) -> Application:
        is_admin = scope["type"] == "http" and scope["server"][1] == self._admin_port
        return self._admin if is_admin else self._public


@asynccontextmanager
async def _run(lifecycle: Lifecycle) -> AsyncIterator[None]:
    """Run the background tasks while the server serves, which it does while this is suspended."""
    lifecycle.start()
    await anyio.to_thread.run_sync(lifecycle.wait_until_started)
    freeze_gc()
    yield
    await anyio.to_thread.run_sync(lifecycle.stop)


def _route_not_found(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(status, "http_error")
    response = problem_response(status, code, "Unknown route; see /openapi.json.")
    return Response(response.body, response.status, media_type="application/problem+json")
