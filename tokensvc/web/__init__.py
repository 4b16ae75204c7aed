"""The face of the service: every URL on one screen.

`routes` is what `serve` listens with; the local IVS's and edge's URLs are in `web/local/`, which `serve` never mounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import Receive, Scope

from tokensvc.core.snapshot import Snapshot
from tokensvc.ports.metrics import Metrics
from tokensvc.web.denials import DenialRoutes
from tokensvc.web.exchange import Exchange, Route
from tokensvc.web.failures import Answer
from tokensvc.web.front import Routes
from tokensvc.web.health import Readiness, livez
from tokensvc.web.jwks import Jwks
from tokensvc.web.keys import KeyRoutes
from tokensvc.web.openapi import OpenApi
from tokensvc.web.revocations import RevocationRoutes
from tokensvc.web.status import Status
from tokensvc.web.tokens import TokenRoutes


def routes(
    tokens: TokenRoutes,
    revocations: RevocationRoutes,
    denials: DenialRoutes,
    readiness: Readiness,
    snapshot: Callable[[], Snapshot],
    admin: Mapping[str, Route],
) -> Routes:
    """The public listener's routes; `admin` is empty when those have a listener of their own."""
    table = {
        "/v1/tokens": Route("POST", tokens.single, tokens.single_at_once),
        "/v1/tokens/batch": Route("POST", tokens.batch),
        **viewer_routes(revocations, denials),
        "/livez": Route("GET", livez, logs_success=False),
        "/readyz": Route("GET", readiness.readyz, logs_success=False),
        "/.well-known/jwks.json": Route("GET", Jwks(snapshot).jwks),
        **admin,
    }
    return _described(table)


def admin_listener_routes(admin: Mapping[str, Route], readiness: Readiness) -> Routes:
    """The admin listener's routes: the probes and the description of its own routes are there as on any listener."""
    return _described(
        {
            **admin,
            "/livez": Route("GET", livez, logs_success=False),
            "/readyz": Route("GET", readiness.readyz, logs_success=False),
        }
    )


def viewer_routes(revocations: RevocationRoutes, denials: DenialRoutes) -> dict[str, Route]:
    """What is done against viewers."""
    return {
        "/v1/revocations": Route("POST", revocations.add, also=Route("GET", revocations.list)),
        "/v1/revocations/batch": Route("POST", revocations.add_batch),
        "/v1/revocations/{id}": Route("GET", revocations.show),
        "/v1/revocations/{id}/retry": Route("POST", revocations.retry),
        "/v1/revocations/{id}/cancel": Route("POST", revocations.cancel),
        "/v1/denials": Route("POST", denials.add, also=Route("GET", denials.list)),
        "/v1/denials/{id}": Route("DELETE", denials.remove),
    }


def admin_routes(metrics: Metrics, status: Status, keys: KeyRoutes) -> dict[str, Route]:
    """What an operator's tools ask for."""
    return {
        "/metrics": _metrics(metrics),
        "/v1/status": Route("GET", status.status),
        "/v1/keys": Route("GET", keys.page),
        "/v1/keys/rotate": Route("POST", keys.rotate),
        "/v1/keys/{id}": Route("GET", keys.show),
        "/v1/keys/{id}/compromise": Route("POST", keys.compromise),
        "/v1/keys/rotations/{id}": Route("GET", keys.rotation),
    }


def work_routes(metrics: Metrics) -> Routes:
    """All that `work` answers."""
    return _described({"/livez": Route("GET", livez, logs_success=False), "/metrics": _metrics(metrics)})


def _described(table: Mapping[str, Route]) -> Routes:
    """A listener's routes and the page that describes exactly these."""
    page = OpenApi(frozenset({*table, "/openapi.json"}))
    return {**table, "/openapi.json": Route("GET", page.openapi)}


def _metrics(metrics: Metrics) -> Route:
    async def render(_scope: Scope, _receive: Receive, _exchange: Exchange) -> Answer:
        return Answer(200, metrics.render(), ((b"content-type", b"text/plain; version=1.0.0; charset=utf-8"),), "ok")

    return Route("GET", render, logs_success=False)
