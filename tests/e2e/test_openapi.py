"""/openapi.json describes the API correctly, as checked by tools that know nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.deployment import Deployment, LocalIvs, Service
from tests.support.http_client import Client, Response
from tests.support.processes import wait_until

EXAMPLES = 40
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    allow_header_conformance,
    unsupported_method,
]
"""All that make sense here. Rules that need two fields are in no schema, and a batch is answered 200 whatever is in it,
so nothing is said about which data must be taken; who may ask is in test_callers.py."""


@pytest.fixture(scope="module")
def page(service: Service) -> Any:
    with service.client() as client:
        return client.get("/openapi.json").json


@pytest.fixture(scope="module")
def openapi(service: Service, key: str) -> Any:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json", headers={"authorization": f"Bearer {key}"})


class _Operated(NamedTuple):
    url: str
    operator: str


@contextmanager
def _operating(ivs: LocalIvs, folder: Path) -> Iterator[_Operated]:
    """A separate service, because its keys are rotated, and the API key of a caller with all key scopes."""
    site = Deployment(ivs, folder)
    operator = site.set_up("--all-channels", "--scope", "keys:read", "--scope", "keys:admin")
    with site.serve() as service:
        yield _Operated(service.url, operator)


@pytest.fixture(scope="module")
def operated(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Operated]:
    with _operating(ivs, tmp_path_factory.mktemp("operated")) as operated:
        yield operated


@pytest.fixture(scope="module")
def moderator(service: Service, site: Deployment) -> str:
    """The API key of a caller that may revoke and deny, which the service has loaded."""
    return site.add_caller_and_wait(service, "/v1/revocations", "revocations:read", "revocations:write")


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        ("POST /v1/tokens", GenerationMode.POSITIVE),
        ("POST /v1/tokens", GenerationMode.NEGATIVE),
        ("POST /v1/tokens/batch", GenerationMode.POSITIVE),
        ("POST /v1/tokens/batch", GenerationMode.NEGATIVE),
        ("POST /v1/revocations", GenerationMode.POSITIVE),
        ("POST /v1/revocations", GenerationMode.NEGATIVE),
        ("POST /v1/revocations/batch", GenerationMode.POSITIVE),
        ("POST /v1/revocations/batch", GenerationMode.NEGATIVE),
        ("GET /v1/revocations", GenerationMode.POSITIVE),
        ("GET /v1/revocations", GenerationMode.NEGATIVE),
        ("GET /v1/revocations/{id}", GenerationMode.POSITIVE),
        ("POST /v1/revocations/{id}/retry", GenerationMode.POSITIVE),
        ("POST /v1/revocations/{id}/cancel", GenerationMode.POSITIVE),
        ("POST /v1/denials", GenerationMode.POSITIVE),
        ("POST /v1/denials", GenerationMode.NEGATIVE),
        ("GET /v1/denials", GenerationMode.POSITIVE),
        ("GET /v1/denials", GenerationMode.NEGATIVE),
        ("DELETE /v1/denials/{id}", GenerationMode.POSITIVE),
        ("GET /v1/status", GenerationMode.POSITIVE),
        ("GET /v1/keys", GenerationMode.POSITIVE),
        ("GET /v1/keys", GenerationMode.NEGATIVE),
        ("GET /v1/keys/{id}", GenerationMode.POSITIVE),
        ("GET /v1/keys/rotations/{id}", GenerationMode.POSITIVE),
        ("POST /v1/keys/rotate", GenerationMode.NEGATIVE),
        ("POST /v1/keys/{id}/compromise", GenerationMode.POSITIVE),
        ("POST /v1/keys/{id}/compromise", GenerationMode.NEGATIVE),
        ("GET /livez", GenerationMode.POSITIVE),
        ("GET /readyz", GenerationMode.POSITIVE),
        ("GET /.well-known/jwks.json", GenerationMode.POSITIVE),
    ],
)
def test_any_request_is_answered_as_described(
    openapi: Any, key: str, operated: _Operated, moderator: str, channel: Any, operation: str, mode: GenerationMode
) -> None:
    method, path = operation.split()
    room = path[4:].partition("/")[0]
    bearer = {"keys": operated.operator, "revocations": moderator, "denials": moderator}.get(room, key)
    base_url = operated.url if room == "keys" else openapi.get_base_url()

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=openapi[path][method].as_strategy(generation_mode=mode))
    def is_answered(case: Any) -> None:
        for ask in _token_requests(case.body) if mode is GenerationMode.POSITIVE else ():
            _make_valid(ask, channel["arn"])
        headers = {"authorization": f"Bearer {bearer}"}
        case.call_and_validate(base_url=base_url, headers=headers, timeout=20, checks=CHECKS)

    is_answered()


def _token_requests(body: Any) -> list[Any]:
    """The token requests of a well-formed body."""
    if not isinstance(body, dict):
        return []
    return next((list(body[name]) for name in ("requests", "revocations") if name in body), [body])


def _make_valid(request_token: dict[str, Any], channel_arn: str) -> None:
    """Set the channel, and satisfy the rules between two fields, which no schema expresses."""
    request_token["channelArn"] = channel_arn
    request_token.pop("channelArns", None)
    if request_token.get("viewerId") is not None:
        request_token.pop("subject", None)
    if request_token.get("until") is not None:
        request_token.pop("denySeconds", None)


Ask = Callable[[Client, str], Response]
SAMPLES: dict[str, tuple[Ask, str, int]] = {
    "a token": (lambda c, arn: c.request_token(channelArn=arn, viewerId="ada"), "post /v1/tokens", 201),
    "the least": (lambda c, arn: c.request_token(channelArn=arn), "post /v1/tokens", 201),
    "everything": (
        lambda c, arn: c.request_token(
            channelArn=arn,
            subject="ada",
            ttlSeconds=60,
            allowedOrigins=["https://*.example.com"],
            strictOriginEnforcement=True,
            singleUse=True,
            maximumResolution="HD",
            ads={"optOut": False, "playerParams": {"a": "b"}, "playbackConfigName": "x", "reportingMode": "CLIENT"},
        ),
        "post /v1/tokens",
        201,
    ),
    "a bad ask": (lambda c, arn: c.request_token(channelArn=arn, viewerId="", exp=1), "post /v1/tokens", 422),
    "no channel": (lambda c, arn: c.request_token(channelArn=f"{arn}0", viewerId="a"), "post /v1/tokens", 404),
    "no JSON": (lambda c, arn: c.request("POST", "/v1/tokens", "{"), "post /v1/tokens", 400),
    "too large": (lambda c, arn: c.request("POST", "/v1/tokens", " " * 17_000), "post /v1/tokens", 413),
    "compressed": (
        lambda c, arn: c.request("POST", "/v1/tokens", json.dumps({"channelArn": arn}), {"content-encoding": "gzip"}),
        "post /v1/tokens",
        415,
    ),
    "a field twice": (
        lambda c, arn: c.request("POST", "/v1/tokens", f'{{"channelArn":"{arn}","channelArn":"{arn}"}}'),
        "post /v1/tokens",
        422,
    ),
    "the URL is required": (
        lambda c, arn: c.request_token(channelArn=arn, viewerId="ada", requirePlaybackUrl=True),
        "post /v1/tokens",
        201,
    ),
    "nobody": (
        lambda c, arn: c.request("POST", "/v1/tokens", "{}", {"authorization": "Bearer tsk_0_0"}),
        "post /v1/tokens",
        401,
    ),
    "a batch": (lambda c, arn: c.request_batch([{"channelArn": arn}, {}]), "post /v1/tokens/batch", 200),
    "a bad batch": (lambda c, arn: c.request_batch([]), "post /v1/tokens/batch", 422),
    "status without the scope": (lambda c, arn: c.get("/v1/status"), "get /v1/status", 403),
    "status for nobody": (
        lambda c, arn: c.request("GET", "/v1/status", headers={"authorization": ""}),
        "get /v1/status",
        401,
    ),
    "alive": (lambda c, arn: c.get("/livez"), "get /livez", 200),
    "ready": (lambda c, arn: c.get("/readyz"), "get /readyz", 200),
    "keys": (lambda c, arn: c.get("/.well-known/jwks.json"), "get /.well-known/jwks.json", 200),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_token_responses_match_their_schema(page: Any, caller: Client, channel: Any, sample: str) -> None:
    ask, operation, status = SAMPLES[sample]
    method, path = operation.split()
    response = ask(caller, channel["arn"])
    assert response.status == status, response.body
    (media_type, described), *others = page["paths"][path][method]["responses"][str(status)]["content"].items()
    assert not others
    assert response.headers["content-type"] == media_type
    validator = jsonschema_rs.validator_for({**described["schema"], "components": page["components"]})
    assert not [error.message for error in validator.iter_errors(response.json)]


KEYS: dict[str, tuple[str, str, str, int]] = {
    "keys": ("GET", "/v1/keys", "/v1/keys", 200),
    "a page of them": ("GET", "/v1/keys?maxResults=1", "/v1/keys", 200),
    "a bad page": ("GET", "/v1/keys?maxResults=0", "/v1/keys", 422),
    "a key": ("GET", "/v1/keys/{key}", "/v1/keys/{id}", 200),
    "no key": ("GET", "/v1/keys/k0", "/v1/keys/{id}", 404),
    "no rotation": ("GET", "/v1/keys/rotations/r0", "/v1/keys/rotations/{id}", 404),
    "a rotation nowhere": ("POST", "/v1/keys/rotate", "/v1/keys/rotate", 422),
    "a compromise of nothing": ("POST", "/v1/keys/k0/compromise", "/v1/keys/{id}/compromise", 404),
}


@pytest.mark.parametrize("sample", KEYS)
def test_key_responses_match_their_schema(page: Any, operated: _Operated, sample: str) -> None:
    method, path, template, status = KEYS[sample]
    with Client(*operated) as client:
        key_id = client.get("/v1/keys").json["keys"][0]["id"]
        body = {"regions": ["mars-1"]} if template.endswith("rotate") else {}
        response = client.request(method, path.replace("{key}", key_id), json.dumps(body) if method == "POST" else None)
    assert response.status == status, response.body
    _matches_schema(page, method, template, response)


def test_a_rotation_and_a_compromise_over_http(page: Any, ivs: LocalIvs, tmp_path: Path) -> None:
    """On a separate deployment: the service itself carries out the requests."""
    with _operating(ivs, tmp_path) as operated, Client(*operated) as client:
        (first,) = client.get("/v1/keys").json["keys"]
        asked = client.request("POST", "/v1/keys/rotate", "{}")
        assert asked.status == 202
        _matches_schema(page, "POST", "/v1/keys/rotate", asked)
        wait_until(lambda: client.get(asked.headers["location"]).json["done"], "the rotation is done", 10)
        rotation = client.get(asked.headers["location"])
        _matches_schema(page, "GET", "/v1/keys/rotations/{id}", rotation)
        second = rotation.json["regions"][0]["activeKeyId"]
        assert (rotation.json["regions"][0]["previousKeyId"], second) == (first["id"], second) != (second, second)
        response = client.request("POST", f"/v1/keys/{second}/compromise", "{}")
        assert response.status == 202
        _matches_schema(page, "POST", "/v1/keys/{id}/compromise", response)
        assert response.json["regions"][0]["successor"] == first["id"], "the retiring key stands in"

        def is_gone() -> bool:
            (place,) = client.get(f"/v1/keys/{second}").json["placements"]
            return place["state"] == "compromised" and place["retiredAt"] is not None

        wait_until(is_gone, "its pair is deleted", 10)


def _matches_schema(page: Any, method: str, template: str, response: Response) -> None:
    described = page["paths"][template][method.lower()]["responses"][str(response.status)]["content"]
    ((media_type, content),) = described.items()
    assert response.headers["content-type"] == media_type
    validator = jsonschema_rs.validator_for({**content["schema"], "components": page["components"]})
    assert not [error.message for error in validator.iter_errors(response.json)]


def test_revocation_and_denial_responses_match_their_schema(
    page: Any, service: Service, moderator: str, channel: Any
) -> None:
    who = {"channelArn": channel["arn"], "viewerId": "of-a-known-form"}
    with service.client(moderator) as client:

        def ask(method: str, template: str, body: object = None, *, id_: str = "", query: str = "") -> Any:
            sent = None if body is None else json.dumps(body)
            response = client.request(method, template.replace("{id}", id_) + query, sent)
            assert response.status < 300, response.body
            _matches_schema(page, method, template, response)
            return response.json

        id_ = ask("POST", "/v1/revocations", who)["id"]
        ask("POST", "/v1/revocations/batch", {"revocations": [who, {}]})
        assert ask("GET", "/v1/revocations", query="?viewerId=of-a-known-form")["revocations"][-1]["id"] == id_
        ask("GET", "/v1/revocations/{id}", id_=id_)
        ask("POST", "/v1/revocations/{id}/retry", id_=id_)
        ask("POST", "/v1/revocations/{id}/cancel", id_=id_)
        (denial,) = ask("POST", "/v1/denials", who | {"denySeconds": 60})["denials"]
        assert ask("GET", "/v1/denials")["denials"]
        gone = client.request("DELETE", f"/v1/denials/{denial['id']}")
        assert (gone.status, gone.body) == (204, b"")


def test_the_status_response_matches_its_schema(page: Any, service: Service, site: Deployment) -> None:
    with service.client(site.add_caller("--all-channels", "--scope", "keys:read")) as caller:
        response = wait_until(lambda: _given(caller.get("/v1/status")), "the service has heard of the caller", 5)
    assert response is not None
    described = page["paths"]["/v1/status"]["get"]["responses"]["200"]["content"]["application/json"]
    validator = jsonschema_rs.validator_for({**described["schema"], "components": page["components"]})
    assert not [error.message for error in validator.iter_errors(response.json)]
    assert response.json["workers"]
    assert response.json["regions"]


def _given(response: Response) -> Response | None:
    return response if response.status == 200 else None


def test_every_route_and_its_scope_are_described(page: Any) -> None:
    assert page["openapi"].startswith("3.1")
    assert set(page["paths"]) == {
        "/v1/tokens",
        "/v1/tokens/batch",
        "/v1/revocations",
        "/v1/revocations/batch",
        "/v1/revocations/{id}",
        "/v1/revocations/{id}/retry",
        "/v1/revocations/{id}/cancel",
        "/v1/denials",
        "/v1/denials/{id}",
        "/v1/status",
        "/v1/keys",
        "/v1/keys/rotate",
        "/v1/keys/{id}",
        "/v1/keys/{id}/compromise",
        "/v1/keys/rotations/{id}",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/.well-known/jwks.json",
    }
    for path in ("/v1/tokens", "/v1/tokens/batch"):
        assert page["paths"][path]["post"]["security"] == [{"apiKey": []}]
