"""CORS: pages of listed origins may ask for tokens and read the responses, all other pages get nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.asgi_client import AsgiResponse, request, scope_of
from tests.support.clocks import ManualClock
from tokensvc.errors import Unauthenticated
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web import cors
from tokensvc.web.app import Application
from tokensvc.web.context import RequestContext, Route
from tokensvc.web.cors import PATHS, Cors

APP, SHOP, FOREIGN = "https://app.example.com", "https://shop.test", "https://evil.test"
ALLOW = "access-control-allow-origin"


async def _as_caller(scope: Scope, _receive: Receive, context: RequestContext) -> Response:
    for name, value in scope["headers"]:
        if name == b"authorization":
            context.caller = value.decode()
            return Response(201, b"{}", (JSON,), "issued")
    raise Unauthenticated("API key missing, unknown, expired or disabled")


async def _not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class _Service:
    """An application whose callers are named by the Authorization header."""

    def __init__(self, *setting: str, policies: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.policies = policies or {}
        routes = {path: [Route("POST", _as_caller)] for path in (*PATHS, "/v1/keys/rotate")}
        self._app = Application(routes, _not_found, ManualClock(), None, cors=Cors(setting, lambda: self.policies))

    def ask(self, method: str = "POST", path: str = "/v1/tokens", **headers: str) -> AsgiResponse:
        return asyncio.run(request(self._app, scope_of(method, path, **headers)))

    def preflight(self, origin: str, path: str = "/v1/tokens") -> AsgiResponse:
        return self.ask("OPTIONS", path, origin=origin, access_control_request_method="POST")


def _cors_headers(response: AsgiResponse) -> dict[str, Any]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_the_preflight_of_a_listed_origin_is_answered_and_cached(path: str) -> None:
    response = _Service(APP).preflight(APP, path)
    assert (response.status, response.body) == (204, b"")
    assert _cors_headers(response) == {
        ALLOW: APP,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "7200",
    }
    assert response.headers["vary"] == "origin"
    assert "content-length" not in response.headers


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://app.example.com", f"{APP}:8443", f"{APP}.evil.test", "*"])
def test_a_page_of_another_origin_gets_no_cors_header(origin: str) -> None:
    service = _Service(APP)
    assert _cors_headers(service.preflight(origin)) == {}
    response = service.ask(origin=origin, authorization="app")
    assert (response.status, _cors_headers(response), response.headers["vary"]) == (201, {}, "origin")


def test_a_wildcard_covers_subdomains_and_the_response_names_the_one_that_asked() -> None:
    service = _Service("https://*.example.com")
    assert service.preflight(APP).headers[ALLOW] == APP
    assert _cors_headers(service.preflight("https://example.com")) == {}


@pytest.mark.parametrize("headers", [{}, {"authorization": "app"}], ids=["401", "201"])
def test_responses_and_errors_can_be_read_by_the_page(headers: dict[str, str]) -> None:
    response = _Service(APP).ask(origin=APP, **headers)
    assert response.status == (201 if headers else 401)
    assert _cors_headers(response) == {
        ALLOW: APP,
        "access-control-expose-headers": "retry-after, x-request-id, ratelimit, ratelimit-policy",
    }
    assert response.headers["vary"] == "origin"


def test_a_policy_s_origins_count_for_that_caller_alone() -> None:
    service = _Service(policies={"app": (APP,), "shop": (SHOP,)})
    assert [service.preflight(origin).headers.get(ALLOW) for origin in (APP, SHOP, FOREIGN)] == [APP, SHOP, None]
    assert service.ask(origin=APP, authorization="app").headers[ALLOW] == APP
    assert ALLOW not in service.ask(origin=APP, authorization="shop").headers
    assert ALLOW not in service.ask(origin=APP, authorization="without").headers
    assert service.ask(origin=SHOP).headers[ALLOW] == SHOP  # 401: nobody's response


def test_a_policy_that_changes_takes_effect_with_its_snapshot() -> None:
    service = _Service(policies={"app": (APP,)})
    assert service.preflight(APP).headers[ALLOW] == APP
    service.policies = {"app": (SHOP,)}
    assert ALLOW not in service.preflight(APP).headers
    assert service.ask(origin=SHOP, authorization="app").headers[ALLOW] == SHOP


def test_without_listed_origins_nothing_changes() -> None:
    response = _Service().preflight(APP)
    assert (response.status, response.json["code"], _cors_headers(response)) == (405, "method_not_allowed", {})
    assert "vary" not in _Service().ask(origin=APP, authorization="app").headers


def test_other_operations_are_not_for_pages() -> None:
    service = _Service(APP)
    assert service.preflight(APP, "/v1/keys/rotate").status == 405
    assert _cors_headers(service.ask(path="/v1/keys/rotate", origin=APP, authorization="app")) == {}


def test_an_options_request_that_is_not_a_preflight_is_not_allowed() -> None:
    assert _Service(APP).ask("OPTIONS", origin=APP).status == 405
    assert _Service(APP).ask("OPTIONS", access_control_request_method="POST").status == 405


def test_a_client_without_an_origin_gets_the_response_as_it_is() -> None:
    response = _Service(APP).ask(authorization="app")
    assert (_cors_headers(response), "vary" in response.headers) == ({}, False)


def test_private_networks_and_credentials_are_never_granted() -> None:
    asked = _Service(APP).ask(
        "OPTIONS", origin=APP, access_control_request_method="POST", access_control_request_private_network="true"
    )
    assert not {"access-control-allow-private-network", "access-control-allow-credentials"} & asked.headers.keys()


def test_invented_origins_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cors, "MAX_REMEMBERED", 10)
    rules = Cors((APP,), dict)
    for number in range(100):
        rules.with_headers(Response(200, b"", (), ""), scope_of(origin=f"https://{number}.test"), "")
        assert len(rules._answers) <= 10
