"""The table of operations: routes and their description."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.asgi_client import response_of, scope_of
from tokensvc.callers.policy import SCOPES
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.problems import Problem, ProblemCode
from tokensvc.web.endpoints.health import BackgroundReadiness
from tokensvc.web.operations import routes_of
from tokensvc.web.routes import DENIALS, OPERATIONS, monitoring_routes, public_routes, worker_routes


def test_operations_are_unique_and_their_scopes_exist() -> None:
    operations = [(operation.method, operation.path) for operation in OPERATIONS]
    assert len(set(operations)) == len(operations)
    assert {operation.scope for operation in OPERATIONS} <= {"", *SCOPES}


def test_a_path_has_one_route_per_method() -> None:
    owner: Any = object()
    table = routes_of(operation.bind(owner) for operation in DENIALS)
    assert list(table) == ["/v1/denials", "/v1/denials/{id}"]
    assert [route.method for route in table["/v1/denials"]] == ["POST", "GET"]
    assert [route.method for route in table["/v1/denials/{id}"]] == ["DELETE"]


def test_proxies_have_a_route_only_where_the_settings_want_it() -> None:
    owner: Any = SimpleNamespace(supports_nowait=True)
    with_route = public_routes(owner, owner, owner, owner, owner, owner, owner, [])
    without = public_routes(owner, owner, owner, owner, None, owner, owner, [])
    assert set(with_route) - set(without) == {"/authorize"}
    for table, is_described in ((with_route, True), (without, False)):
        description = json.loads(response_of(table["/openapi.json"][0].endpoint, scope_of("GET"), b"").body)
        assert ("/authorize" in description["paths"]) == is_described


def test_a_listener_describes_exactly_its_routes() -> None:
    table = worker_routes(PrometheusMetrics(), _readiness(None), is_described=True)
    description = json.loads(response_of(table["/openapi.json"][0].endpoint, scope_of("GET"), b"").body)
    assert set(description["paths"]) == set(table) == {"/livez", "/readyz", "/metrics", "/openapi.json"}
    assert set(description["paths"]["/metrics"]) == {"get"}


def test_monitoring_gets_metrics_and_probes_alone() -> None:
    owner: Any = object()
    assert set(monitoring_routes(owner, owner)) == {"/livez", "/readyz", "/metrics"}
    assert set(worker_routes(owner, owner, is_described=False)) == {"/livez", "/readyz", "/metrics"}


@pytest.mark.parametrize(
    ("store_read_at", "status", "detail"),
    [
        (99.0, 200, ""),
        (95.0, 200, ""),
        (94.9, 503, "the store has not responded for 5 s"),
        (40.0, 503, "the store has not responded for 60 s"),
        (None, 503, "the store has not responded since this process started"),
    ],
)
def test_a_process_that_only_runs_background_tasks_is_ready_while_the_store_responds(
    store_read_at: float | None, status: int, detail: str
) -> None:
    response = response_of(_readiness(store_read_at).readyz, scope_of("GET"), b"")
    body = json.loads(response.body)
    assert response.status == status
    if status == 200:
        assert body["status"] == "ready"
        assert "a wrong signature" in body["warnings"][0]
    else:
        assert (body["code"], body["detail"]) == ("store_unavailable", detail)


def _readiness(store_read_at: float | None) -> BackgroundReadiness:
    problem = Problem(ProblemCode.SIGNER_FAILED, parameters={"worker_id": "w1", "reason": "a wrong signature"})
    return BackgroundReadiness(lambda: store_read_at, lambda: 100.0, lambda: [problem])
