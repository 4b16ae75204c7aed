"""Every URL of the service on one screen: what is served, and what /openapi.json is made from.

Invariants
- A listener's description has exactly the operations that it serves.
- The local IVS's and edge's URLs are in `web/local/`, which `serve` never mounts.
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
    CreatedDenials,
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
_OF_ONE = (401, 403, 404, 503)


async def _livez(_owner: None, scope: Scope, receive: Receive, context: RequestContext) -> Response:
    return await livez(scope, receive, context)


async def _metrics(metrics: Metrics, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    return Response(200, metrics.render(), ((b"content-type", b"text/plain; version=1.0.0; charset=utf-8"),), "ok")


TOKENS: tuple[Operation[TokenRoutes], ...] = (
    Operation(
        "POST",
        "/v1/tokens",
        TokenRoutes.single,
        "Ask for a token",
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
        "Ask for up to 500 tokens",
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
        "End a viewer's sessions, and let it have no token until every worker has heard",
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
        "Revocations, newest first",
        scope=revocations.READ,
        query=RevocationQuery,
        response=RevocationPage,
        errors=_WITH_QUERY,
    ),
    Operation(
        "POST",
        "/v1/revocations/batch",
        RevocationRoutes.add_batch,
        "Up to 1,000 revocations",
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
        "How far a revocation has come",
        scope=revocations.READ,
        response=RevocationView,
        errors=_OF_ONE,
    ),
    Operation(
        "POST",
        "/v1/revocations/{id}/retry",
        RevocationRoutes.retry,
        "Queue again what of it failed",
        scope=revocations.WRITE,
        response=RevocationView,
        errors=_OF_ONE,
    ),
    Operation(
        "POST",
        "/v1/revocations/{id}/cancel",
        RevocationRoutes.cancel,
        "Give up what of it is still queued",
        scope=revocations.WRITE,
        response=RevocationView,
        errors=_OF_ONE,
    ),
)
DENIALS: tuple[Operation[DenialRoutes], ...] = (
    Operation(
        "POST",
        "/v1/denials",
        DenialRoutes.add,
        "Let a viewer have no tokens for a while",
        scope=revocations.WRITE,
        request=DenialRequest,
        status=201,
        response=CreatedDenials,
        errors=_WITH_BODY,
    ),
    Operation(
        "GET",
        "/v1/denials",
        DenialRoutes.list,
        "Denials in force, last written first",
        scope=revocations.READ,
        query=DenialQuery,
        response=DenialPage,
        errors=_WITH_QUERY,
    ),
    Operation(
        "DELETE",
        "/v1/denials/{id}",
        DenialRoutes.remove,
        "Let the viewer have tokens again",
        scope=revocations.WRITE,
        status=204,
        errors=_OF_ONE,
    ),
)
STATUS: Operation[StatusRoute] = Operation(
    "GET",
    "/v1/status",
    StatusRoute.status,
    "How the deployment does",
    scope=status.SCOPE,
    response=StatusView,
    errors=(401, 403, 503),
)
KEYS: tuple[Operation[KeyRoutes], ...] = (
    Operation(
        "GET",
        "/v1/keys",
        KeyRoutes.page,
        "The key pairs",
        scope=keys.READ,
        query=KeyQuery,
        response=KeyPage,
        errors=_WITH_QUERY,
    ),
    Operation(
        "POST",
        "/v1/keys/rotate",
        KeyRoutes.rotate,
        "Ask for another key to sign",
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
        "A key pair, its history, and who has not heard",
        scope=keys.READ,
        response=KeyDetailView,
        errors=(*_WITH_QUERY, 404),
    ),
    Operation(
        "POST",
        "/v1/keys/{id}/compromise",
        KeyRoutes.compromise,
        "Never sign with a key again, and delete its pairs",
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
        "How far a rotation is",
        scope=keys.READ,
        response=RotationView,
        errors=(*_WITH_QUERY, 404),
    ),
)
LIVEZ: Operation[None] = Operation(
    "GET", "/livez", _livez, "Does the process answer", response=LivenessResponse, logs_success=False
)
READYZ: Operation[Readiness] = Operation(
    "GET",
    "/readyz",
    Readiness.readyz,
    "Can this worker sign now",
    response=ReadinessResponse,
    errors=(503,),
    logs_success=False,
)
JWKS: Operation[JwksRoute] = Operation(
    "GET", "/.well-known/jwks.json", JwksRoute.jwks, "The public halves that tokens verify with", response=JwkSet
)
OPENAPI: Operation[OpenApiRoute] = Operation("GET", "/openapi.json", OpenApiRoute.openapi, "This page")
METRICS: Operation[Metrics] = Operation(
    "GET", "/metrics", _metrics, "Figures in Prometheus's text format", logs_success=False
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
"""Every operation of the service."""


def public_routes(
    token_routes: TokenRoutes,
    revocation_routes: RevocationRoutes,
    denial_routes: DenialRoutes,
    readiness: Readiness,
    snapshot: Callable[[], Snapshot],
    admin: Sequence[BoundOperation],
) -> Routes:
    """The public listener's routes; `admin` is empty when those have a listener of their own."""
    return _described(
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
    """The admin listener's routes: the probes and the description of its own routes are there as on any listener."""
    return _described([*admin, LIVEZ.bind(None), READYZ.bind(readiness)])


def worker_routes(metrics: Metrics) -> Routes:
    """All that a process without tokens answers."""
    return _described([LIVEZ.bind(None), METRICS.bind(metrics)])


def admin_operations(metrics: Metrics, status_route: StatusRoute, key_routes: KeyRoutes) -> list[BoundOperation]:
    """What an operator's tools ask for."""
    return [METRICS.bind(metrics), STATUS.bind(status_route), *bind_all(KEYS, key_routes)]


def _described(bound: Iterable[BoundOperation]) -> Routes:
    """A listener's routes, and the page that describes exactly these."""
    served = list(bound)
    page = OpenApiRoute([*(operation for operation, _ in served), OPENAPI])
    return routes_of([*served, OPENAPI.bind(page)])
