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
"""The applicable ones. Whether data is accepted is not checked: no schema expresses rules between two fields, and every
batch gets a 200. Authorization is tested in test_callers.py."""


@pytest.fixture(scope="module")
def document(service: Service) -> Any:
    with service.client() as client:
        return client.get("/openapi.json").json


@pytest.fixture(scope="module")
def openapi(service: Service, key: str) -> Any:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json", headers={"authorization": f"Bearer {key}"})


class _KeyService(NamedTuple):
    url: str
    operator: str


@contextmanager
def _key_service(ivs: LocalIvs, folder: Path) -> Iterator[_KeyService]:
    """A separate service, because its keys are rotated, and the API key of a caller with all key scopes."""
    deployment = Deployment(ivs, folder)
    operator = deployment.set_up("--all-channels", "--scope", "keys:read", "--scope", "keys:admin")
    with deployment.serve() as service:
        yield _KeyService(service.url, operator)


@pytest.fixture(scope="module")
def key_service(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_KeyService]:
    with _key_service(ivs, tmp_path_factory.mktemp("key_service")) as key_service:
        yield key_service


@pytest.fixture(scope="module")
def moderator(service: Service, deployment: Deployment) -> str:
    """The API key of a caller that may revoke and deny, which the service has loaded."""
    return deployment.add_caller_and_wait(service, "/v1/revocations", "revocations:read", "revocations:write")


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
def test_responses_to_any_request_match_the_description(
    openapi: Any, key: str, key_service: _KeyService, moderator: str, channel: Any, operation: str, mode: GenerationMode
) -> None:
    method, path = operation.split()
    collection = path[4:].partition("/")[0]
    bearer = {"keys": key_service.operator, "revocations": moderator, "denials": moderator}.get(collection, key)
    base_url = key_service.url if collection == "keys" else openapi.get_base_url()

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=openapi[path][method].as_strategy(generation_mode=mode))
    def check_response(case: Any) -> None:
        for token_request in _token_requests(case.body) if mode is GenerationMode.POSITIVE else ():
            _make_valid(token_request, channel["arn"])
        headers = {"authorization": f"Bearer {bearer}"}
        case.call_and_validate(base_url=base_url, headers=headers, timeout=20, checks=CHECKS)

    check_response()


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


SendRequest = Callable[[Client, str], Response]
SAMPLES: dict[str, tuple[SendRequest, str, int]] = {
    "a token": (lambda c, arn: c.request_token(channelArn=arn, viewerId="ada"), "post /v1/tokens", 201),
    "the minimum": (lambda c, arn: c.request_token(channelArn=arn), "post /v1/tokens", 201),
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
    "an invalid request": (lambda c, arn: c.request_token(channelArn=arn, viewerId="", exp=1), "post /v1/tokens", 422),
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
    "an unknown key": (
        lambda c, arn: c.request("POST", "/v1/tokens", "{}", {"authorization": "Bearer tsk_0_0"}),
        "post /v1/tokens",
        401,
    ),
    "a batch": (lambda c, arn: c.request_batch([{"channelArn": arn}, {}]), "post /v1/tokens/batch", 200),
    "an empty batch": (lambda c, arn: c.request_batch([]), "post /v1/tokens/batch", 422),
    "status without the scope": (lambda c, arn: c.get("/v1/status"), "get /v1/status", 403),
    "status without credentials": (
        lambda c, arn: c.request("GET", "/v1/status", headers={"authorization": ""}),
        "get /v1/status",
        401,
    ),
    "alive": (lambda c, arn: c.get("/livez"), "get /livez", 200),
    "ready": (lambda c, arn: c.get("/readyz"), "get /readyz", 200),
    "keys": (lambda c, arn: c.get("/.well-known/jwks.json"), "get /.well-known/jwks.json", 200),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_token_responses_match_their_schema(document: Any, caller: Client, channel: Any, sample: str) -> None:
    send_request, operation, status = SAMPLES[sample]
    method, path = operation.split()
    response = send_request(caller, channel["arn"])
    assert response.status == status, response.body
    (media_type, described), *others = document["paths"][path][method]["responses"][str(status)]["content"].items()
    assert not others
    assert response.headers["content-type"] == media_type
    validator = jsonschema_rs.validator_for({**described["schema"], "components": document["components"]})
    assert not [error.message for error in validator.iter_errors(response.json)]


KEYS: dict[str, tuple[str, str, str, int]] = {
    "keys": ("GET", "/v1/keys", "/v1/keys", 200),
    "a page of keys": ("GET", "/v1/keys?maxResults=1", "/v1/keys", 200),
    "an invalid page size": ("GET", "/v1/keys?maxResults=0", "/v1/keys", 422),
    "a key": ("GET", "/v1/keys/{key}", "/v1/keys/{id}", 200),
    "an unknown key": ("GET", "/v1/keys/k0", "/v1/keys/{id}", 404),
    "an unknown rotation": ("GET", "/v1/keys/rotations/r0", "/v1/keys/rotations/{id}", 404),
    "a rotation in an unknown region": ("POST", "/v1/keys/rotate", "/v1/keys/rotate", 422),
    "a compromise of an unknown key": ("POST", "/v1/keys/k0/compromise", "/v1/keys/{id}/compromise", 404),
}


@pytest.mark.parametrize("sample", KEYS)
def test_key_responses_match_their_schema(document: Any, key_service: _KeyService, sample: str) -> None:
    method, path, template, status = KEYS[sample]
    with Client(*key_service) as client:
        key_id = client.get("/v1/keys").json["keys"][0]["id"]
        body = {"regions": ["mars-1"]} if template.endswith("rotate") else {}
        response = client.request(method, path.replace("{key}", key_id), json.dumps(body) if method == "POST" else None)
    assert response.status == status, response.body
    _matches_schema(document, method, template, response)


def test_a_rotation_and_a_compromise_over_http(document: Any, ivs: LocalIvs, tmp_path: Path) -> None:
    """On a separate deployment: the service itself carries out the requests."""
    with _key_service(ivs, tmp_path) as key_service, Client(*key_service) as client:
        (first,) = client.get("/v1/keys").json["keys"]
        response = client.request("POST", "/v1/keys/rotate", "{}")
        assert response.status == 202
        _matches_schema(document, "POST", "/v1/keys/rotate", response)
        wait_until(lambda: client.get(response.headers["location"]).json["done"], "the rotation is done", 10)
        rotation = client.get(response.headers["location"])
        _matches_schema(document, "GET", "/v1/keys/rotations/{id}", rotation)
        second = rotation.json["regions"][0]["activeKeyId"]
        assert (rotation.json["regions"][0]["previousKeyId"], second) == (first["id"], second) != (second, second)
        response = client.request("POST", f"/v1/keys/{second}/compromise", "{}")
        assert response.status == 202
        _matches_schema(document, "POST", "/v1/keys/{id}/compromise", response)
        assert response.json["regions"][0]["successor"] == first["id"], "the retiring key does not replace it"

        def is_deleted() -> bool:
            (placement,) = client.get(f"/v1/keys/{second}").json["placements"]
            return placement["state"] == "compromised" and placement["retiredAt"] is not None

        wait_until(is_deleted, "the pair is deleted", 10)


def _matches_schema(document: Any, method: str, template: str, response: Response) -> None:
    described = document["paths"][template][method.lower()]["responses"][str(response.status)]["content"]
    ((media_type, content),) = described.items()
    assert response.headers["content-type"] == media_type
    validator = jsonschema_rs.validator_for({**content["schema"], "components": document["components"]})
    assert not [error.message for error in validator.iter_errors(response.json)]


def test_revocation_and_denial_responses_match_their_schema(
    document: Any, service: Service, moderator: str, channel: Any
) -> None:
    viewer = {"channelArn": channel["arn"], "viewerId": "schema-check"}
    with service.client(moderator) as client:

        def send(method: str, template: str, body: object = None, *, id_: str = "", query: str = "") -> Any:
            content = None if body is None else json.dumps(body)
            response = client.request(method, template.replace("{id}", id_) + query, content)
            assert response.status < 300, response.body
            _matches_schema(document, method, template, response)
            return response.json

        id_ = send("POST", "/v1/revocations", viewer)["id"]
        send("POST", "/v1/revocations/batch", {"revocations": [viewer, {}]})
        assert send("GET", "/v1/revocations", query="?viewerId=schema-check")["revocations"][-1]["id"] == id_
        send("GET", "/v1/revocations/{id}", id_=id_)
        send("POST", "/v1/revocations/{id}/retry", id_=id_)
        send("POST", "/v1/revocations/{id}/cancel", id_=id_)
        (denial,) = send("POST", "/v1/denials", viewer | {"denySeconds": 60})["denials"]
        assert send("GET", "/v1/denials")["denials"]
        deletion = client.request("DELETE", f"/v1/denials/{denial['id']}")
        assert (deletion.status, deletion.body) == (204, b"")


def test_the_status_response_matches_its_schema(document: Any, service: Service, deployment: Deployment) -> None:
    with service.client(deployment.add_caller("--all-channels", "--scope", "keys:read")) as caller:
        response = wait_until(lambda: _if_ok(caller.get("/v1/status")), "the service knows the caller", 5)
    assert response is not None
    described = document["paths"]["/v1/status"]["get"]["responses"]["200"]["content"]["application/json"]
    validator = jsonschema_rs.validator_for({**described["schema"], "components": document["components"]})
    assert not [error.message for error in validator.iter_errors(response.json)]
    assert response.json["workers"]
    assert response.json["regions"]


def _if_ok(response: Response) -> Response | None:
    return response if response.status == 200 else None


def test_every_route_and_its_scope_are_described(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
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
        assert document["paths"][path]["post"]["security"] == [{"apiKey": []}]
