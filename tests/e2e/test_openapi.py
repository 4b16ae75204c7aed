"""/openapi.json describes the API correctly, as checked by tools that know nothing else."""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import jsonschema_rs
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
)

from tests.support.deployment import Deployment, LocalIvs, Service
from tests.support.http_client import Client, Response
from tests.support.oidc_issuer import AUDIENCE, JWKS_PATH, OidcIssuer, in_an_hour, running_issuer
from tests.support.processes import wait_until
from tokensvc.callers.policy import DEFAULT_SCOPES, SCOPES
from tokensvc.web.openapi import document as describe
from tokensvc.web.routes import OPERATIONS

EXAMPLES = 40
EXAMPLES_WITHOUT_CREDENTIALS = 10
EXAMPLES_OF_LONG_TESTS = 100
DESCRIPTION = describe(OPERATIONS)["info"]["description"]
OF_ANY_OPERATION = {(int(status), code) for status, code in re.findall(r"([45]\d\d)\s`(\w+)`", DESCRIPTION)}
"""Which errors any operation may have: the introduction lists them."""


def status_is_described(_context: Any, response: Any, case: Any) -> bool | None:
    """Check that the operation lists the status and the code, or that any operation can have them. That it has a
    default response is not enough."""
    if response.status_code < 400:
        assert str(response.status_code) in case.operation.definition.raw["responses"]
        return None
    code = response.json().get("code")
    if (response.status_code, code) not in OF_ANY_OPERATION:
        described = case.operation.definition.raw["responses"].get(str(response.status_code))
        assert described is not None, f"status {response.status_code} is not described"
        assert code in described["x-problem-codes"]
    return None


def closed(document: Any) -> Any:
    """The document with objects that have no other members than those that are described."""
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


CHECKS = [
    not_a_server_error,
    status_is_described,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    allow_header_conformance,
    unsupported_method,
]
"""The applicable ones. Whether data is accepted is not checked: no schema expresses rules between two fields, and every
batch gets a 200. Authorization is tested in test_callers.py."""
BY_NAME = {f"{operation.method} {operation.path}": operation for operation in OPERATIONS}
CHANGES_KEYS = "POST /v1/keys/rotate"
"""Valid requests for it would rotate keys without end."""


@pytest.fixture(scope="module")
def document(service: Service) -> Any:
    with service.client() as client:
        return closed(client.get("/openapi.json").json)


class _OwnService(NamedTuple):
    url: str
    api_key: str
    """Of a caller for all channels, with every scope."""


@contextmanager
def _own_service(ivs: LocalIvs, folder: Path, issuer_url: str) -> Iterator[tuple[_OwnService, Deployment]]:
    """A separate service, because its keys are rotated. It has a viewer app: without one, no bearer token is read."""
    deployment = Deployment(ivs, folder)
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    api_key = deployment.set_up("--all-channels", "--allow-anonymous-viewers", *scopes)
    deployment.run("callers", "add", "player", "--all-channels", "--issuer", issuer_url, "--audience", AUDIENCE)
    with deployment.serve(AUTHORIZE="on") as service:
        yield _OwnService(service.url, api_key), deployment


@pytest.fixture(scope="module")
def issuer() -> Iterator[OidcIssuer]:
    """The issuer of the viewer app's bearer tokens."""
    with running_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def _fuzzed(
    ivs: LocalIvs, issuer: OidcIssuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[_OwnService, Deployment]]:
    with _own_service(ivs, tmp_path_factory.mktemp("own_service"), issuer.url) as fuzzed:
        yield fuzzed


@pytest.fixture(scope="module")
def own_service(_fuzzed: tuple[_OwnService, Deployment]) -> _OwnService:
    return _fuzzed[0]


@pytest.fixture(scope="module")
def own_channel(_fuzzed: tuple[_OwnService, Deployment]) -> str:
    """The ARN of a channel of that service."""
    return str(_fuzzed[1].new_channel(name="fuzzed")["arn"])


@pytest.fixture(scope="module")
def openapi(own_service: _OwnService) -> Any:
    with Client(*own_service) as client:
        return schemathesis.openapi.from_dict(closed(client.get("/openapi.json").json))


@pytest.fixture(scope="module")
def moderator(service: Service, deployment: Deployment) -> str:
    """The API key of a caller that may revoke and deny, which the service has loaded."""
    return deployment.add_caller_and_wait(service, "/v1/revocations", "revocations:read", "revocations:write")


def _modes(name: str) -> list[GenerationMode]:
    """Which requests can be derived for an operation: invalid ones only where it takes a body or a query."""
    operation = BY_NAME[name]
    negative = [GenerationMode.NEGATIVE] if operation.request is not None or operation.query is not None else []
    return negative if name == CHANGES_KEYS else [GenerationMode.POSITIVE, *negative]


MODES = [pytest.param(name, mode, id=f"{name}-{mode.value}") for name in BY_NAME for mode in _modes(name)]
LENGTHS = [
    pytest.param(EXAMPLES, id="quick"),
    pytest.param(EXAMPLES_OF_LONG_TESTS, id="deep", marks=pytest.mark.long),
]
QUICK = {"POST /v1/tokens", "POST /v1/tokens/batch", "POST /v1/tokens/explain", "GET /v1/revocations", "GET /v1/audit"}
"""The operations that are tested in a short run, too: one of each kind."""
CASES = [
    pytest.param(*mode.values, *length.values, id=f"{mode.id}-{length.id}", marks=length.marks)
    for mode in MODES
    for length in LENGTHS
    if length.marks or mode.values[0] in QUICK
]
LENGTHS_WITHOUT_CREDENTIALS = [
    pytest.param(EXAMPLES_WITHOUT_CREDENTIALS, id="quick"),
    pytest.param(EXAMPLES_OF_LONG_TESTS, id="deep", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("operation", "mode", "examples"), CASES)
def test_responses_to_any_request_match_the_description(
    openapi: Any, own_service: _OwnService, own_channel: str, operation: str, mode: GenerationMode, examples: int
) -> None:
    @hypothesis.settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=_requests(openapi, operation, mode))
    def check_response(case: Any) -> None:
        for token_request in _token_requests(case.body) if mode is GenerationMode.POSITIVE else ():
            _make_valid(token_request, own_channel)
        headers = {"authorization": f"Bearer {own_service.api_key}"}
        case.call_and_validate(base_url=own_service.url, headers=headers, timeout=20, checks=CHECKS)

    check_response()


def _requests(openapi: Any, operation: str, mode: GenerationMode) -> Any:
    method, path = operation.split()
    return openapi[path][method].as_strategy(generation_mode=mode)


def _jwt(header: Mapping[str, object], payload: object, signature: bytes = b"x" * 64) -> str:
    parts = (orjson.dumps(header), orjson.dumps(payload), signature)
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


INVALID_CREDENTIALS = (
    "Bearer",
    "Basic YWRhOnNlY3JldA==",
    "Bearer tsk_",
    "Bearer tsk_0_0",
    "Bearer tsk_0_0 tsk_0_0",
    "Bearer ..",
    "Bearer a.b.c.d.e",
)


def invalid_bearer_tokens(issuer: OidcIssuer) -> list[str]:
    """Tokens that name the viewer app's issuer and audience, so that only what is wrong with each rejects it."""
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ada", "exp": 4_000_000_000}
    known = {"alg": "RS256", "kid": "first"}
    now = int(time.time())
    return [
        _jwt({"alg": "none"}, claims, b""),
        _jwt({"alg": "HS256", "kid": "first"}, claims),
        _jwt(known, claims),
        _jwt(known, claims, b""),
        _jwt({"alg": "RS256"}, claims, b"x" * 256),
        _jwt({"alg": "RS256", "kid": "../../etc/passwd"}, claims),
        _jwt({"alg": "RS256", "kid": 7}, claims),
        _jwt({**known, "crit": ["b64"], "b64": False}, claims),
        _jwt({**known, "jku": "http://127.0.0.1:9/keys", "x5u": "http://127.0.0.1:9/x"}, claims),
        _jwt({"alg": ["RS256"]}, claims),
        _jwt({"alg": "EdDSA"}, []),
        _jwt({"alg": "EdDSA"}, claims),
        _jwt({**known, "cty": "JWT"}, {**claims, "padding": "x" * 4000}),
        _jwt(known, {**claims, "padding": "x" * 8000}),
        _jwt(known, {**claims, "iss": "https://issuer.example"}),
        _jwt(known, {**claims, "aud": {"a": AUDIENCE}}),
        _jwt(known, {**claims, "aud": [AUDIENCE, 7]}),
        issuer.token(exp=now - 3600),
        issuer.token(exp=None),
        issuer.token(exp=True),
        issuer.token(exp=in_an_hour(), nbf=now + 3600),
        issuer.token(exp=in_an_hour(), sub=None),
        issuer.token(exp=in_an_hour(), sub="x" * 1025),
        issuer.token(exp=in_an_hour(), aud="another-app"),
        issuer.token(exp=in_an_hour()) + "A",
    ]


REJECTED = (401, 431)
"""For invalid credentials, and for too long a URL or headers."""


@pytest.mark.parametrize("examples", LENGTHS_WITHOUT_CREDENTIALS)
@pytest.mark.parametrize("credentials", ["missing", "invalid"])
@pytest.mark.parametrize("operation", BY_NAME)
def test_responses_to_requests_without_valid_credentials_match_the_description(
    openapi: Any, own_service: _OwnService, issuer: OidcIssuer, operation: str, credentials: str, examples: int
) -> None:
    """Operations that need a caller reject them, whatever else is wrong with the request."""
    anonymous = not BY_NAME[operation].scope
    almost = (f"Bearer {own_service.api_key}x", f"Bearer {own_service.api_key[:-1]}", own_service.api_key)
    printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
    bearers = st.sampled_from(invalid_bearer_tokens(issuer)) | printable
    invalid = st.sampled_from((*INVALID_CREDENTIALS, *almost)) | bearers.map("Bearer {}".format)
    headers = invalid.map(lambda value: {"authorization": value}) if credentials == "invalid" else st.just({})
    cases = st.one_of(*(_requests(openapi, operation, mode) for mode in _any_modes(operation)))

    @hypothesis.settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=cases, headers=headers)
    def check_response(case: Any, headers: dict[str, str]) -> None:
        response = case.call_and_validate(base_url=own_service.url, headers=headers, timeout=20, checks=CHECKS)
        assert anonymous or response.status_code in REJECTED, response.text

    check_response()


@pytest.fixture
def login(own_service: _OwnService, own_channel: str, issuer: OidcIssuer) -> str:
    """A viewer's bearer token that the service has verified: only token routes verify new ones, others take it for
    invalid."""
    token = issuer.token(exp=in_an_hour())
    with Client(own_service.url, token) as client:
        client.token(channelArn=own_channel)
    return token


@pytest.mark.parametrize("examples", LENGTHS_WITHOUT_CREDENTIALS)
@pytest.mark.parametrize("operation", BY_NAME)
def test_responses_to_a_viewer_match_the_description(
    openapi: Any, own_service: _OwnService, own_channel: str, login: str, operation: str, examples: int
) -> None:
    """A viewer with a valid bearer token gets tokens, and is forbidden everything else that needs a caller."""
    statuses = set[int]()
    cases = st.one_of(*(_requests(openapi, operation, mode) for mode in _any_modes(operation)))

    @hypothesis.settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(case=cases)
    def check_response(case: Any) -> None:
        for token_request in _token_requests(case.body) if case.meta.generation.mode is GenerationMode.POSITIVE else ():
            _make_valid(token_request, own_channel)
            token_request.pop("viewerId", None)
            token_request.pop("subject", None)
        headers = {"authorization": f"Bearer {login}"}
        response = case.call_and_validate(base_url=own_service.url, headers=headers, timeout=20, checks=CHECKS)
        if "authorization" in response.request.headers:  # invalid requests may lack it
            statuses.add(response.status_code)

    check_response()
    scope = BY_NAME[operation].scope
    if scope in DEFAULT_SCOPES:
        assert not statuses & {401, 403}
    elif scope:
        assert statuses <= {403, 431}
        assert 403 in statuses


def test_only_bearer_tokens_that_the_issuer_signed_for_the_viewer_app_are_accepted(
    own_service: _OwnService, own_channel: str, issuer: OidcIssuer
) -> None:
    invalid = invalid_bearer_tokens(issuer)

    def status_with(token: str) -> int:
        with Client(own_service.url, token) as client:
            return client.request_token(channelArn=own_channel).status

    assert [status_with(token) for token in invalid] == [401] * len(invalid)
    assert status_with(issuer.token(exp=in_an_hour())) == 201
    assert JWKS_PATH in issuer.requests


def _any_modes(operation: str) -> list[GenerationMode]:
    """Valid requests for any operation, too: without credentials, none may change anything."""
    return sorted({GenerationMode.POSITIVE, *_modes(operation)}, key=str)


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
def test_key_responses_match_their_schema(document: Any, own_service: _OwnService, sample: str) -> None:
    method, path, template, status = KEYS[sample]
    with Client(*own_service) as client:
        key_id = client.get("/v1/keys").json["keys"][0]["id"]
        body = {"regions": ["mars-1"]} if template.endswith("rotate") else {}
        response = client.request(method, path.replace("{key}", key_id), json.dumps(body) if method == "POST" else None)
    assert response.status == status, response.body
    _matches_schema(document, method, template, response)


@pytest.mark.long
def test_a_rotation_and_a_compromise_over_http(
    document: Any, ivs: LocalIvs, issuer: OidcIssuer, tmp_path: Path
) -> None:
    """On a separate deployment: the service itself carries out the requests."""
    with _own_service(ivs, tmp_path, issuer.url) as (own_service, _), Client(*own_service) as client:
        (first,) = client.get("/v1/keys").json["keys"]
        response = client.request("POST", "/v1/keys/rotate", "{}")
        assert response.status == 202
        _matches_schema(document, "POST", "/v1/keys/rotate", response)
        wait_until(lambda: client.get(response.headers["location"]).json["done"], "the rotation is done")
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

        wait_until(is_deleted, "the pair is deleted")


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
        response = wait_until(lambda: _if_ok(caller.get("/v1/status")), "the service knows the caller")
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
        "/v1/tokens/explain",
        "/v1/audit",
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
        assert document["paths"][path]["post"]["security"] == [{"apiKey": []}, {"viewerLogin": []}]
