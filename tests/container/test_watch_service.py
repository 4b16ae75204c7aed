"""The watch page's tokens in the demo: what the service responds reaches the page unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.support.servers import serving
from tokensvc.aws.arn import parse_arn
from tokensvc.container.watch_service import ServiceTokens
from tokensvc.errors import NoSigningKey, ServiceUnreachable

pytestmark = pytest.mark.slow

CHANNEL = parse_arn("arn:aws:ivs:us-east-1:000000000000:channel/abcd", "channel")
KEY = "tsk_key"
PROBLEM = {"code": "viewer_denied", "detail": "no", "status": 403}


class Service:
    """What a service responds, and what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any, str]] = []
        self.responses: list[Response] = []

    async def respond(self, request: Request) -> Response:
        body = await request.body()
        asked = (request.method, request.url.path, json.loads(body or b"null"), request.headers["authorization"])
        self.requests.append(asked)
        return self.responses.pop(0)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def tokens(service: Service) -> Iterator[ServiceTokens]:
    app = Starlette(routes=[Route("/{path:path}", service.respond, methods=["GET", "POST"])])
    with serving(app) as url:
        made = ServiceTokens(url)
        made.use(KEY)
        yield made


def test_a_token_request_is_passed_on_with_the_api_key(service: Service, tokens: ServiceTokens) -> None:
    service.responses = [JSONResponse({"token": "t"}, 201)]
    fields = {"channelArn": str(CHANNEL), "unknown": [1]}
    assert tokens.issue(fields) == (201, {"token": "t"})
    assert service.requests == [("POST", "/v1/tokens", fields, f"Bearer {KEY}")]


def test_a_problem_is_passed_on(service: Service, tokens: ServiceTokens) -> None:
    service.responses = [JSONResponse(PROBLEM, 403)]
    assert tokens.issue({}) == (403, PROBLEM)


def test_a_revocation_is_the_services(service: Service, tokens: ServiceTokens) -> None:
    service.responses = [JSONResponse({"id": "r"}, 202)]
    assert tokens.revoke(CHANNEL, "ada").status == 202
    [(_, path, body, _)] = service.requests
    assert (path, body) == ("/v1/revocations", {"channelArn": str(CHANNEL), "viewerId": "ada"})


def test_a_rotation_is_waited_for(service: Service, tokens: ServiceTokens) -> None:
    states = [(False, 202), (False, 200), (True, 200)]
    service.responses = [JSONResponse({"id": "r", "done": done}, status) for done, status in states]
    assert tokens.rotate(CHANNEL).document["done"]
    assert [path for _, path, _, _ in service.requests] == ["/v1/keys/rotate", *2 * ["/v1/keys/rotations/r"]]
    assert service.requests[0][2] == {"regions": ["us-east-1"]}


def test_a_rotation_that_is_refused_is_a_problem(service: Service, tokens: ServiceTokens) -> None:
    service.responses = [JSONResponse(PROBLEM, 409)]
    assert tokens.rotate(CHANNEL) == (409, PROBLEM)


def test_until_the_demo_has_a_caller_the_page_is_told_so() -> None:
    with pytest.raises(NoSigningKey, match="still starting"):
        ServiceTokens("http://127.0.0.1:1").issue({})


def test_a_service_that_does_not_respond_or_responds_with_something_else_is_named(
    service: Service, tokens: ServiceTokens
) -> None:
    service.responses = [PlainTextResponse("no JSON", 502)]
    with pytest.raises(ServiceUnreachable):
        tokens.issue({})
    gone = ServiceTokens("http://127.0.0.1:1")
    gone.use(KEY)
    with pytest.raises(ServiceUnreachable):
        gone.issue({})
