"""The table of operations: routes and their description."""

from __future__ import annotations

import json
from typing import Any

from tests.support.asgi_client import response_of, scope_of
from tokensvc.callers.policy import SCOPES
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.web.operations import routes_of
from tokensvc.web.routes import DENIALS, OPERATIONS, worker_routes


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


def test_a_listener_describes_exactly_its_routes() -> None:
    table = worker_routes(PrometheusMetrics())
    description = json.loads(response_of(table["/openapi.json"][0].endpoint, scope_of("GET"), b"").body)
    assert set(description["paths"]) == set(table) == {"/livez", "/metrics", "/openapi.json"}
    assert set(description["paths"]["/metrics"]) == {"get"}
