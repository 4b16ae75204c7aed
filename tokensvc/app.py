"""Parts -> the ASGI application, top to bottom.

`build` is the whole service as `serve` runs it. `demo` gives it the local IVS to stand beside it. `build_work` is the
background alone.
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

from tokensvc.adapters.logs import process_log
from tokensvc.loops.runner import Loop, stop_all
from tokensvc.revocations.denials import DenialService
from tokensvc.web.accesslog import AccessLog
from tokensvc.web.authorized import Authorized
from tokensvc.web.collector import calm_the_collector
from tokensvc.web.denials import DenialRoutes
from tokensvc.web.exchange import Reply
from tokensvc.web.failures import plain_refusal
from tokensvc.web.front import Front
from tokensvc.web.health import Readiness
from tokensvc.web.keys import KeyRoutes
from tokensvc.web.revocations import RevocationRoutes
from tokensvc.web.routes import admin_operations, admin_routes, public_routes, worker_routes
from tokensvc.web.status import Status
from tokensvc.web.tokens import TokenRoutes
from tokensvc.wiring import Parts, WorkParts


@dataclass(frozen=True)
class Application:
    """The service as one ASGI application, and the switch that a stopping worker throws."""

    asgi: ASGIApp
    readiness: Readiness


def build(parts: Parts, *, admin_port: int | None = None, beside: Sequence[BaseRoute] = ()) -> Application:
    """Put the service together. `admin_port` is the bound port that serves the admin routes, if any."""
    settings = parts.settings
    lease, sign_many = settings.snapshot_lease_seconds, parts.chosen.signer.sign_many
    authorized = Authorized(parts.snapshot, parts.clock, lease_seconds=lease)
    tokens = TokenRoutes(authorized, parts.directory, parts.metrics, sign_many, uuid.uuid4)
    readiness = Readiness(parts.snapshot, parts.clock, parts.duties.heartbeats.trouble, lease_seconds=lease)
    keys = KeyRoutes(authorized, parts.make_world, parts.store.workers, parts.store.versions, parts.regions)
    means = parts.means
    revocations = RevocationRoutes(authorized, means)
    denials = DenialRoutes(
        authorized,
        DenialService(store=parts.store.denials, subjects=means.subjects, clock=means.clock, regions=means.regions),
    )
    admin = admin_operations(parts.metrics, Status(authorized, parts.facts), keys)
    access_log = (
        AccessLog(process_log.writer, parts.clock, as_json=settings.log_format == "json")
        if settings.access_log
        else None
    )
    behind = Starlette(
        routes=list(beside),
        exception_handlers={HTTPException: _no_such_route},
        lifespan=lambda _app: _life(parts.loops),
    )
    public = public_routes(tokens, revocations, denials, readiness, parts.snapshot, [] if admin_port else admin)
    front = Front(public, behind, parts.clock, access_log, sign_many)
    if admin_port is None:
        return Application(front, readiness)
    at_admin = Front(admin_routes(admin, readiness), behind, parts.clock, access_log)
    return Application(_ByPort(front, admin_port, at_admin), readiness)


def build_work(parts: WorkParts) -> ASGIApp:
    """Background duties alone, and the little that is asked of them."""
    behind = Starlette(exception_handlers={HTTPException: _no_such_route}, lifespan=lambda _app: _life(parts.loops))
    return Front(worker_routes(parts.metrics), behind, parts.clock, None)


class _ByPort:
    """Two listeners in one server: what comes in at the admin port gets the admin routes, all else the public ones."""

    def __init__(self, public: Front, admin_port: int, admin: Front) -> None:
        self._public = public
        self._admin_port = admin_port
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front(scope)(scope, receive, send)

    def at_once(self, scope: Scope, body: bytes, reply: Reply) -> bool:
        return self._front(scope).at_once(scope, body, reply)

    def end_turn(self) -> None:
        self._public.end_turn()
        self._admin.end_turn()

    def _front(self, scope: Scope) -> Front:
        at_admin = scope["type"] == "http" and scope["server"][1] == self._admin_port
        return self._admin if at_admin else self._public


@asynccontextmanager
async def _life(loops: Sequence[Loop]) -> AsyncIterator[None]:
    """From the first refresh to the end of the background duties."""
    for loop in loops:
        loop.start()
    await anyio.to_thread.run_sync(loops[0].first_run.wait, 10)
    calm_the_collector()
    yield
    await anyio.to_thread.run_sync(stop_all, loops)


def _no_such_route(_request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    code = {404: "no_such_route", 405: "method_not_allowed"}.get(status, "refused")
    answer = plain_refusal(status, code, "There is no such route; /openapi.json lists those there are.")
    return Response(answer.body, answer.status, media_type="application/problem+json")
