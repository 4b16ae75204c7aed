"""Every operation of the HTTP interface, in one table; /openapi.json is generated from it.

Invariants
- The description of a listener has exactly the operations that the listener serves.
- The routes of the local IVS and its edge are in `local_ivs/http/`, which `serve` never mounts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from starlette.types import Receive, Scope

from tokensvc.diagnostics.status import StatusView
from tokensvc.http.problem_details import Response
from tokensvc.keys.requests import CompromiseRequest, KeyQuery, RotateKeysRequest
from tokensvc.keys.views import CompromiseView, KeyDetailView, KeyPage, RotationView
from tokensvc.metrics import Metrics
from tokensvc.revocations.requests import (
    DenialQuery,
    DenialRequest,
    RevocationBatchRequest,
    RevocationQuery,
    RevocationRequest,
)
from tokensvc.revocations.views import (
    AcceptedRevocationView,
    CreatedDenialsView,
    DenialPage,
    RevocationPage,
    RevocationView,
)
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.context import RequestContext, Routes
from tokensvc.web.endpoints import keys, revocations, status, tokens
from tokensvc.web.endpoints.denials import DenialRoutes
from tokensvc.web.endpoints.health import Readiness, livez
from tokensvc.web.endpoints.jwks import JwksRoute
from tokensvc.web.endpoints.keys import KeyRoutes
from tokensvc.web.endpoints.revocations import RevocationRoutes
from tokensvc.web.endpoints.status import StatusRoute
from tokensvc.web.endpoints.tokens import TokenRoutes
from tokensvc.web.openapi import OpenApiRoute
from tokensvc.web.operations import BoundOperation, Operation, bind_all, routes_of
from tokensvc.web.schemas import (
    JwkSet,
    LivenessResponse,
    ReadinessResponse,
    RevocationBatchResponse,
    TokenBatchRequest,
    TokenBatchResponse,
    TokenResponse,
)

_WITH_BODY = (400, 401, 403, 408, 413, 415, 422, 503)
_WITH_QUERY = (401, 403, 422, 503)
_ONE_RESOURCE = (401, 403, 404, 503)


async def _livez(_owner: None, scope: Scope, receive: Receive, context: RequestContext) -> Response:
    return await livez(scope, receive, context)


async def _metrics(metrics: Metrics, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    return Response(200, metrics.render(), ((b"content-type", b"text/plain; version=1.0.0; charset=utf-8"),), "ok")


TOKENS: tuple[Operation[TokenRoutes], ...] = (
    Operation(
        "POST",
        "/v1/tokens",
        TokenRoutes.single,
        "Issue a token",
        scope=tokens.SCOPE,
        request=TokenRequest,
        status=201,
        response=TokenResponse,
        errors=(*_WITH_BODY, 404),
        handle_nowait=TokenRoutes.single_nowait,
    ),
    Operation(
        "POST",
        "/v1/tokens/batch",
        TokenRoutes.batch,
        "Issue up to 500 tokens",
        scope=tokens.SCOPE,
        request=TokenBatchRequest,
        response=TokenBatchResponse,
        errors=_WITH_BODY,
    ),
)
REVOCATIONS: tuple[Operation[RevocationRoutes], ...] = (
    Operation(
        "POST",
        "/v1/revocations",
        RevocationRoutes.add,
        "Revoke a viewer: end its sessions and issue it no tokens until all workers are in sync",
        scope=revocations.WRITE,
        request=RevocationRequest,
        request_headers=("Idempotency-Key",),
        status=202,
        response=AcceptedRevocationView,
        errors=_WITH_BODY,
    ),
    Operation(
        "GET",
        "/v1/revocations",
        RevocationRoutes.list,
        "List revocations, newest first",
        scope=revocations.READ,
        query=RevocationQuery,
        response=RevocationPage,
        errors=_WITH_QUERY,
    ),
    Operation(
        "POST",
        "/v1/revocations/batch",
        RevocationRoutes.add_batch,
        "Create up to 1,000 revocations",
        scope=revocations.WRITE,
        request=RevocationBatchRequest,
        request_headers=("Idempotency-Key",),
        status=202,
        response=RevocationBatchResponse,
        errors=_WITH_BODY,
    ),
    Operation(
        "GET",
        "/v1/revocations/{id}",
        RevocationRoutes.show,
        "Get a revocation and the state of its delivery to IVS",
        scope=revocations.READ,
        response=RevocationView,
        errors=_ONE_RESOURCE,
    ),
    Operation(
        "POST",
        "/v1/revocations/{id}/retry",
        RevocationRoutes.retry,
        "Queue the failed deliveries of a revocation again",
        scope=revocations.WRITE,
        response=RevocationView,
        errors=_ONE_RESOURCE,
    ),
    Operation(
        "POST",
        "/v1/revocations/{id}/cancel",
        RevocationRoutes.cancel,
        "Cancel the queued deliveries of a revocation",
        scope=revocations.WRITE,
        response=RevocationView,
        errors=_ONE_RESOURCE,
    ),
)
DENIALS: tuple[Operation[DenialRoutes], ...] = (
    Operation(
        "POST",
        "/v1/denials",
        DenialRoutes.add,
        "Deny tokens to a viewer for a limited time",
        scope=revocations.WRITE,
        request=DenialRequest,
        status=201,
        response=CreatedDenialsView,
        errors=_WITH_BODY,
    ),
    Operation(
        "GET",
        "/v1/denials",
        DenialRoutes.list,
        "List the denials in force, newest first",
        scope=revocations.READ,
        query=DenialQuery,
        response=DenialPage,
        errors=_WITH_QUERY,
    ),
    Operation(
        "DELETE",
        "/v1/denials/{id}",
        DenialRoutes.remove,
        "Remove a denial",
        scope=revocations.WRITE,
        status=204,
        errors=_ONE_RESOURCE,
    ),
)
STATUS: Operation[StatusRoute] = Operation(
    "GET",
    "/v1/status",
    StatusRoute.status,
    "Get the status of the deployment",
    scope=status.SCOPE,
    response=StatusView,
    errors=(401, 403, 503),
)
KEYS: tuple[Operation[KeyRoutes], ...] = (
    Operation(
        "GET",
        "/v1/keys",
        KeyRoutes.page,
        "List key pairs",
        scope=keys.READ,
        query=KeyQuery,
        response=KeyPage,
        errors=_WITH_QUERY,
    ),
    Operation(
        "POST",
        "/v1/keys/rotate",
        KeyRoutes.rotate,
        "Request a key rotation",
        scope=keys.ADMIN,
        request=RotateKeysRequest,
        status=202,
        response=RotationView,
        errors=(*_WITH_BODY, 409),
    ),
    Operation(
        "GET",
        "/v1/keys/{id}",
        KeyRoutes.show,
        "Get a key pair, its history and the workers that are not in sync",
        scope=keys.READ,
        response=KeyDetailView,
        errors=(*_WITH_QUERY, 404),
    ),
    Operation(
        "POST",
        "/v1/keys/{id}/compromise",
        KeyRoutes.compromise,
        "Mark a key as compromised: stop signing with it and delete its key pairs from IVS",
        scope=keys.ADMIN,
        request=CompromiseRequest,
        status=202,
        response=CompromiseView,
        errors=(*_WITH_BODY, 404),
    ),
    Operation(
        "GET",
        "/v1/keys/rotations/{id}",
        KeyRoutes.rotation,
        "Get the progress of a rotation",
        scope=keys.READ,
        response=RotationView,
        errors=(*_WITH_QUERY, 404),
    ),
)
LIVEZ: Operation[None] = Operation(
    "GET", "/livez", _livez, "Liveness probe", response=LivenessResponse, logs_success=False
)
READYZ: Operation[Readiness] = Operation(
    "GET",
    "/readyz",
    Readiness.readyz,
    "Readiness probe: whether this worker can sign tokens now",
    response=ReadinessResponse,
    errors=(503,),
    logs_success=False,
)
JWKS: Operation[JwksRoute] = Operation(
    "GET",
    "/.well-known/jwks.json",
    JwksRoute.jwks,
    "Get the public keys that tokens verify with, as a JWK Set",
    response=JwkSet,
)
OPENAPI: Operation[OpenApiRoute] = Operation("GET", "/openapi.json", OpenApiRoute.openapi, "Get this API description")
METRICS: Operation[Metrics] = Operation(
    "GET", "/metrics", _metrics, "Get metrics in the Prometheus text format", logs_success=False
)

OPERATIONS: tuple[Operation[Any], ...] = (
    *TOKENS,
    *REVOCATIONS,
    *DENIALS,
    STATUS,
    *KEYS,
    LIVEZ,
    READYZ,
    JWKS,
    OPENAPI,
    METRICS,
)
"""All operations of the service."""


def public_routes(
    token_routes: TokenRoutes,
    revocation_routes: RevocationRoutes,
    denial_routes: DenialRoutes,
    readiness: Readiness,
    snapshot: Callable[[], Snapshot],
    admin: Sequence[BoundOperation],
) -> Routes:
    """The routes of the public listener; `admin` is empty when the admin routes have their own listener."""
    return _with_description(
        [
            *bind_all(TOKENS, token_routes),
            *bind_all(REVOCATIONS, revocation_routes),
            *bind_all(DENIALS, denial_routes),
            LIVEZ.bind(None),
            READYZ.bind(readiness),
            JWKS.bind(JwksRoute(snapshot)),
            *admin,
        ]
    )


def admin_routes(admin: Iterable[BoundOperation], readiness: Readiness) -> Routes:
    """The routes of the admin listener, with the probes and the description that every listener has."""
    return _with_description([*admin, LIVEZ.bind(None), READYZ.bind(readiness)])


def worker_routes(metrics: Metrics) -> Routes:
    """The routes of a process that runs only background tasks."""
    return _with_description([LIVEZ.bind(None), METRICS.bind(metrics)])


def admin_operations(metrics: Metrics, status_route: StatusRoute, key_routes: KeyRoutes) -> list[BoundOperation]:
    """The operations for operators' tools."""
    return [METRICS.bind(metrics), STATUS.bind(status_route), *bind_all(KEYS, key_routes)]


def _with_description(bound: Iterable[BoundOperation]) -> Routes:
    """The routes of a listener, and the description of exactly these."""
    served = list(bound)
    description = OpenApiRoute([*(operation for operation, _ in served), OPENAPI])
    return routes_of([*served, OPENAPI.bind(description)])
