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

from tokensvc.audit.search import AuditSearch
from tokensvc.callers.limits import TokenLimiter
from tokensvc.container.event_loop_lag import EventLoopLag
from tokensvc.container.logs import has_request_lines, process_log
from tokensvc.container.observers import Observers
from tokensvc.container.sampled_metrics import IssuerKeyAges
from tokensvc.container.service import Service, WorkerService
from tokensvc.errors import Overloaded, RateLimited, TokensvcError
from tokensvc.http.garbage_collection import freeze_gc
from tokensvc.http.problem_details import problem_response
from tokensvc.metrics import Metrics
from tokensvc.outages import FailureLog
from tokensvc.revocations.denials import DenialService
from tokensvc.runner import Lifecycle
from tokensvc.settings import require
from tokensvc.tokens.channel_folders import DEFAULT_FOLDERS, ChannelFolders
from tokensvc.web.access_log import AccessLog
from tokensvc.web.admission import Admission, BothAdmissions, TimedAdmission
from tokensvc.web.app import Application
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.batch_turns import BatchTurns
from tokensvc.web.channel_lookups import ChannelLookups
from tokensvc.web.context import RequestContext, Respond
from tokensvc.web.cors import Cors
from tokensvc.web.endpoints.audit import AuditRoute
from tokensvc.web.endpoints.authorize import AuthorizeRoute
from tokensvc.web.endpoints.denials import DenialRoutes
from tokensvc.web.endpoints.explain import ExplainRoute
from tokensvc.web.endpoints.health import BackgroundReadiness, Readiness
from tokensvc.web.endpoints.keys import KeyRoutes
from tokensvc.web.endpoints.revocations import RevocationRoutes
from tokensvc.web.endpoints.status import StatusRoute
from tokensvc.web.endpoints.token_parts import TokenParts, take_nothing
from tokensvc.web.endpoints.tokens import TokenRoutes
from tokensvc.web.refusals import RecordRefusal, Refusals
from tokensvc.web.routes import (
    TOKENS,
    admin_operations,
    admin_routes,
    monitoring_routes,
    public_routes,
    worker_routes,
)

BATCHES_OF_ONE_CALLER = 16
"""The part of a worker's requests in flight that the batches of one caller may be: one in so many."""
_TOKEN_PATHS = frozenset(operation.path for operation in TOKENS)


@dataclass(frozen=True)
class AsgiService:
    """The service as one ASGI application, and its readiness, which a stopping worker turns off."""

    asgi: ASGIApp
    readiness: Readiness


def build_application(
    service: Service,
    *,
    admin_port: int | None = None,
    serves_admin_routes: bool = True,
    extra_routes: Sequence[BaseRoute] = (),
) -> AsgiService:
    """Build the application. `admin_port` is the bound port of the admin listener, if any. Without
    `serves_admin_routes`, that listener has only metrics and probes, and the other admin routes are served nowhere."""
    settings, snapshot, metrics = service.settings, service.snapshots.read, service.metrics
    lease_seconds, sign_many = settings.snapshot_lease_seconds, service.signer_choice.signer.sign_many
    authenticator = RequestAuthenticator(
        snapshot,
        service.clock,
        lease_seconds=lease_seconds,
        record_use=service.last_uses.record,
        count_fetch=metrics.issuer_keys_fetched,
    )
    metrics.sample_with(IssuerKeyAges(authenticator.key_set_ages, metrics).sample)
    record_refusal = _counting_limits(Refusals(service.audit_writer.refused), metrics)
    limiter = TokenLimiter(service.clock.monotonic, service.tasks.heartbeats.signing_workers)
    admission = _admission(service)
    parts = TokenParts(
        authenticator=authenticator,
        channels=ChannelLookups(service.channel_cache),
        metrics=metrics,
        sign_many=sign_many,
        new_uuid=uuid.uuid4,
        record_issued=service.audit_writer.issued,
        record_refusal=record_refusal,
        take_limits=take_nothing if settings.limiter_url else limiter.take,
        admission=admission,
        turns=BatchTurns(max(1, settings.max_in_flight // BATCHES_OF_ONE_CALLER)),
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
    revocations = RevocationRoutes(authenticator, revocation_service, parts.turns)
    denials = DenialRoutes(
        authenticator,
        DenialService(
            store=service.store.denials,
            subjects=revocation_service.subjects,
            clock=revocation_service.clock,
            regions=revocation_service.regions,
            digest_viewer=revocation_service.digest_viewer,
        ),
    )
    audit_search = AuditSearch(store=service.store.audit, digest_viewer=revocation_service.digest_viewer)
    admin = admin_operations(
        service.metrics,
        StatusRoute(authenticator, service.status_data),
        AuditRoute(authenticator, audit_search),
        keys,
    )
    access_log = (
        AccessLog(
            process_log.writer, service.clock, as_json=settings.log_format == "json", is_written=has_request_lines
        )
        if settings.access_log
        else None
    )
    fallback = Starlette(
        routes=list(extra_routes),
        exception_handlers={HTTPException: _route_not_found},
        lifespan=lambda _app: _run(service.lifecycle, service.observers, admission),
    )
    public = public_routes(
        TokenRoutes(parts),
        ExplainRoute(authenticator, limiter.take_of_caller),
        revocations,
        denials,
        _authorize_route(service),
        readiness,
        snapshot,
        [] if admin_port else admin,
    )
    public_app = Application(
        routes=public,
        fallback=fallback,
        clock=service.clock,
        access_log=access_log,
        sign_many=sign_many,
        record_refusal=record_refusal,
        cors=Cors(settings.cors_origins, lambda: service.snapshots.current.cors_origins),
        max_in_flight=settings.max_in_flight,
        on_rejected=lambda path: _count_rejection(path, metrics),
        count_request=metrics.http_request,
        tracer=service.observers.tracing,
    )
    if admin_port is None:
        return AsgiService(public_app, readiness)
    admin_app = Application(
        routes=admin_routes(admin, readiness) if serves_admin_routes else monitoring_routes(metrics, readiness),
        fallback=fallback if serves_admin_routes else Starlette(exception_handlers={HTTPException: _not_monitored}),
        clock=service.clock,
        access_log=access_log,
        record_refusal=record_refusal,
        count_request=metrics.http_request,
        tracer=service.observers.tracing,
    )
    return AsgiService(_ByPort(public_app, admin_port, admin_app), readiness)


def _authorize_route(service: Service) -> AuthorizeRoute | None:
    """The route that proxies ask, if the settings want it."""
    settings = service.settings
    if not settings.authorize:
        return None
    return AuthorizeRoute(
        folders=ChannelFolders(settings.authorize_folders or DEFAULT_FOLDERS),
        single_uses=service.store.single_uses,
        snapshot=service.snapshots.read,
        clock=service.clock,
        lease_seconds=settings.snapshot_lease_seconds,
        count=service.metrics.playback_authorized,
    )


def _admission(service: Service) -> Admission | None:
    """What token requests wait for, if the settings name anything."""
    settings, failure_log = service.settings, FailureLog(service.clock.monotonic)
    limiter: Admission | None = None
    hook: Admission | None = None
    if settings.limiter_url is not None:
        from tokensvc.web.shared_limits import SharedLimiter

        shared = SharedLimiter(
            settings.limiter_url.get_secret_value(),
            deployment_id=service.store.deployment.read().id,
            fails_open=settings.limiter_fails == "open",
            count_failure=service.metrics.limiter_failed,
            failure_log=failure_log,
        )
        limiter = TimedAdmission(shared, service.observers.limiter)
    if settings.policy_hook_url is not None:
        require(settings, "policy_hook_secret")
        assert settings.policy_hook_secret is not None  # noqa: S101 - `require` has just checked it
        from tokensvc.web.policy_hook import PolicyHook

        asked = PolicyHook(
            settings.policy_hook_url,
            settings.policy_hook_secret.get_secret_value(),
            clock=service.clock,
            count_failure=service.metrics.policy_hook_failed,
            failure_log=failure_log,
            trace_headers=service.observers.headers,
        )
        hook = TimedAdmission(asked, service.observers.policy_hook)
    if limiter is not None and hook is not None:
        return BothAdmissions(limiter, hook)
    return limiter or hook


def build_worker_application(service: WorkerService, *, is_described: bool = True) -> ASGIApp:
    """Build the application of a process that only runs background tasks, with its few routes. `is_described`: one of
    them is their description."""
    fallback = Starlette(
        exception_handlers={HTTPException: _route_not_found if is_described else _not_monitored},
        lifespan=lambda _app: _run(service.lifecycle, service.observers),
    )
    versions = service.lifecycle.first
    readiness = BackgroundReadiness(lambda: versions.succeeded_at, service.clock.monotonic, service.problems)
    routes = worker_routes(service.metrics, readiness, is_described=is_described)
    return Application(
        routes=routes,
        fallback=fallback,
        clock=service.clock,
        access_log=None,
        count_request=service.metrics.http_request,
    )


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
async def _run(lifecycle: Lifecycle, observers: Observers, admission: Admission | None = None) -> AsyncIterator[None]:
    """Run the background tasks while the server serves, which it does while this is suspended."""
    lifecycle.start()
    await anyio.to_thread.run_sync(lifecycle.wait_until_started)
    freeze_gc()
    lag = EventLoopLag(observers.metrics.event_loop_lag)
    lag.start()
    yield
    lag.stop()
    if admission is not None:
        await admission.close()
    await anyio.to_thread.run_sync(lifecycle.stop)
    await anyio.to_thread.run_sync(observers.close)


def _counting_limits(record_refusal: RecordRefusal, metrics: Metrics) -> RecordRefusal:
    """Records refusals, and counts those of rate limits."""

    def record(error: TokensvcError, scope: Scope, context: RequestContext) -> None:
        if isinstance(error, RateLimited):
            metrics.rate_limited(error.limit)
        record_refusal(error, scope, context)

    return record


def _count_rejection(path: str, metrics: Metrics) -> None:
    """Count a token request that an overloaded worker rejected."""
    if path in _TOKEN_PATHS:
        metrics.token_request_failed("", Overloaded.code)


def _route_not_found(_request: Request, error: Exception) -> Response:
    return _unknown_route(error, "Unknown route; see /openapi.json.")


def _not_monitored(_request: Request, error: Exception) -> Response:
    return _unknown_route(error, "Unknown route; this listener serves /metrics, /livez and /readyz.")


def _unknown_route(error: Exception, detail: str) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(status, "http_error")
    response = problem_response(status, code, detail)
    return Response(response.body, response.status, media_type="application/problem+json")
