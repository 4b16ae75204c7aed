"""The stored OpenAPI document: what may be added to the API, and which changes break its clients."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from docs.generator import OPENAPI
from docs.generator.api_changes import ADVICE, api_changes, breaking_changes
from tokensvc.web.openapi import document
from tokensvc.web.routes import OPERATIONS

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(OPERATIONS)))
Edit = Callable[[dict[str, Any]], object]


def test_the_api_has_no_change_that_breaks_the_clients_of_the_stored_document() -> None:
    breaking = breaking_changes(json.loads(OPENAPI.read_text("utf-8")), DOCUMENT)
    assert not breaking, "\n".join([*map(str, breaking), ADVICE])


def test_a_document_has_not_changed_from_itself() -> None:
    assert api_changes(DOCUMENT, DOCUMENT) == []


def _post(d: dict[str, Any]) -> Any:
    return d["paths"]["/v1/tokens"]["post"]


def _listed(d: dict[str, Any]) -> Any:
    return d["paths"]["/v1/revocations"]["get"]


def _schema(d: dict[str, Any], name: str) -> Any:
    return d["components"]["schemas"][name]


def _field(d: dict[str, Any], name: str, field: str) -> Any:
    return _schema(d, name)["properties"][field]


BREAKING: dict[str, tuple[Edit, str]] = {
    "a removed path": (lambda d: d["paths"].pop("/v1/status"), "GET /v1/status: the operation is gone"),
    "another method": (
        lambda d: d["paths"]["/v1/denials"].update(put=d["paths"]["/v1/denials"].pop("post")),
        "POST /v1/denials: the operation is gone",
    ),
    "another operationId": (lambda d: _post(d).update(operationId="mint"), "POST /v1/tokens: `operationId` was"),
    "another tag": (lambda d: _post(d).update(tags=["Other"]), "POST /v1/tokens: `tags` was"),
    "credentials for an open operation": (
        lambda d: d["paths"]["/livez"]["get"].update(security=[{"apiKey": []}]),
        "GET /livez: requires credentials",
    ),
    "credentials that are no longer accepted": (
        lambda d: _post(d)["security"].pop(),
        "POST /v1/tokens: no longer accepts viewerLogin",
    ),
    "a removed parameter": (lambda d: _listed(d)["parameters"].pop(), "GET /v1/revocations: the query parameter"),
    "a new required parameter": (
        lambda d: _post(d).update(
            parameters=[{"name": "tenant", "in": "query", "required": True, "schema": {"type": "string"}}]
        ),
        "POST /v1/tokens: a new required query parameter tenant",
    ),
    "a parameter with a lower limit": (
        lambda d: _listed(d)["parameters"][0]["schema"].update(maximum=10),
        "GET /v1/revocations, parameter maxResults: `maximum` was 100 and is 10",
    ),
    "a removed response": (lambda d: _post(d)["responses"].pop("404"), "POST /v1/tokens: the response 404 is gone"),
    "another status of success": (
        lambda d: _post(d)["responses"].update({"200": _post(d)["responses"].pop("201")}),
        "POST /v1/tokens: the response 201 is gone",
    ),
    "a removed header": (
        lambda d: _post(d)["responses"]["429"]["headers"].pop("Retry-After"),
        "POST /v1/tokens, response 429: the header Retry-After is gone",
    ),
    "a response of another schema": (
        lambda d: _post(d)["responses"]["201"]["content"]["application/json"].update(
            schema={"$ref": "#/components/schemas/Key"}
        ),
        "POST /v1/tokens, response 201: was TokenResponse and is Key",
    ),
    "a request body where there was none": (
        lambda d: d["paths"]["/v1/revocations/{id}/retry"]["post"].update(
            requestBody={"required": True, "content": {}}
        ),
        "POST /v1/revocations/{id}/retry: a new request body",
    ),
    "a renamed schema": (
        lambda d: d["components"]["schemas"].update(Token=d["components"]["schemas"].pop("TokenResponse")),
        "TokenResponse: the schema is gone",
    ),
    "a removed field of a request": (
        lambda d: _schema(d, "TokenRequest")["properties"].pop("ads"),
        "TokenRequest.ads: the field is gone",
    ),
    "a new required field of a request": (
        lambda d: (
            _schema(d, "TokenRequest")["properties"].update(tenant={"type": "string"}),
            _schema(d, "TokenRequest")["required"].append("tenant"),
        ),
        "TokenRequest.tenant: a new required field",
    ),
    "a field of a request that has become required": (
        lambda d: _schema(d, "TokenRequest")["required"].append("viewerId"),
        "TokenRequest.viewerId: has become required",
    ),
    "a field of a request that no longer accepts null": (
        lambda d: _field(d, "TokenRequest", "ttlSeconds").update(type="integer"),
        "TokenRequest.ttlSeconds: the type null is gone",
    ),
    "a value that a request may no longer have": (
        lambda d: _field(d, "TokenRequest", "maximumResolution")["enum"].remove("SD"),
        "TokenRequest.maximumResolution: the value 'SD' is gone",
    ),
    "a higher minimum": (
        lambda d: _field(d, "TokenRequest", "ttlSeconds").update(minimum=60),
        "TokenRequest.ttlSeconds: `minimum` was 1 and is 60",
    ),
    "a new maximum": (
        lambda d: _field(d, "TokenRequest", "ttlSeconds").update(maximum=600),
        "TokenRequest.ttlSeconds: `maximum` was None and is 600",
    ),
    "a shorter list": (
        lambda d: _field(d, "TokenBatchRequest", "requests").update(maxItems=100),
        "TokenBatchRequest.requests: `maxItems` was 500 and is 100",
    ),
    "a new pattern": (
        lambda d: _field(d, "TokenRequest", "channelArn").update(pattern="^arn:"),
        "TokenRequest.channelArn: `pattern` was None and is ^arn:",
    ),
    "entries of another type": (
        lambda d: _field(d, "TokenRequest", "allowedOrigins").update(items={"type": "integer"}),
        "TokenRequest.allowedOrigins[]: the type string is gone",
    ),
    "a removed member of a response": (
        lambda d: _schema(d, "TokenResponse")["properties"].pop("refreshAfter"),
        "TokenResponse.refreshAfter: the member is gone",
    ),
    "a member of a response that may be missing": (
        lambda d: _schema(d, "TokenResponse")["required"].remove("token"),
        "TokenResponse.token: may be missing now",
    ),
    "a member of a response that may be null": (
        lambda d: _field(d, "TokenResponse", "token").update(type=["string", "null"]),
        "TokenResponse.token: a new type null",
    ),
    "a member of a response of another format": (
        lambda d: _field(d, "TokenResponse", "expiresAt").pop("format"),
        "TokenResponse.expiresAt: the format was date-time and is None",
    ),
    "a value that no client expects": (
        lambda d: _schema(d, "RevocationState")["enum"].append("lost"),
        "RevocationState: a new value 'lost'",
    ),
    "a removed code": (
        lambda d: _schema(d, "ProblemCode")["enum"].remove("viewer_denied"),
        "ProblemCode: the value 'viewer_denied' is gone",
    ),
    "another alternative in a response": (
        lambda d: _field(d, "TokenBatchResponse", "results")["items"]["anyOf"].append(
            {"$ref": "#/components/schemas/Key"}
        ),
        "TokenBatchResponse.results[]: a new alternative Key",
    ),
}

ADDITIONS: dict[str, tuple[Edit, str]] = {
    "a new operation": (
        lambda d: d["paths"].update({"/v2/tokens": {"post": copy.deepcopy(_post(d))}}),
        "POST /v2/tokens: a new operation",
    ),
    "more credentials": (
        lambda d: d["paths"]["/v1/status"]["get"]["security"].append({"viewerLogin": []}),
        "GET /v1/status: also accepts viewerLogin",
    ),
    "a new optional parameter": (
        lambda d: _listed(d)["parameters"].append({"name": "tenant", "in": "query", "schema": {"type": "string"}}),
        "GET /v1/revocations: a new optional query parameter tenant",
    ),
    "a new response of an error": (
        lambda d: _post(d)["responses"].update({"402": _post(d)["responses"]["403"]}),
        "POST /v1/tokens: a new response 402",
    ),
    "a new schema": (lambda d: d["components"]["schemas"].update(Tenant={"type": "object"}), "Tenant: a new schema"),
    "a new optional field of a request": (
        lambda d: _schema(d, "TokenRequest")["properties"].update(tenant={"type": "string"}),
        "TokenRequest.tenant: a new optional field",
    ),
    "a field of a request that has become optional": (
        lambda d: _schema(d, "TokenRequest")["required"].remove("channelArn"),
        "TokenRequest.channelArn: has become optional",
    ),
    "a new value of a request": (
        lambda d: _field(d, "TokenRequest", "maximumResolution")["enum"].append("UHD"),
        "TokenRequest.maximumResolution: a new value 'UHD'",
    ),
    "a longer list": (
        lambda d: _field(d, "TokenBatchRequest", "requests").update(maxItems=1000),
        "TokenBatchRequest.requests: `maxItems` was 500 and is 1000",
    ),
    "any number instead of an integer": (
        lambda d: _field(d, "TokenRequest", "ttlSeconds").update(type=["number", "null"]),
        "TokenRequest.ttlSeconds: a new type number",
    ),
    "a new member of a response": (
        lambda d: _schema(d, "TokenResponse")["properties"].update(region={"type": "string"}),
        "TokenResponse.region: a new member",
    ),
    "a member of a response that is always there": (
        lambda d: _schema(d, "TokenResponse")["required"].append("playbackUrl"),
        "TokenResponse.playbackUrl: is always there now",
    ),
    "a new code": (
        lambda d: _schema(d, "ProblemCode")["enum"].append("on_fire"),
        "ProblemCode: a new value 'on_fire'",
    ),
}

NO_CHANGES: dict[str, Edit] = {
    "another text": lambda d: (
        _post(d).update(description="Other words", summary="Other words"),
        _field(d, "TokenRequest", "viewerId").update(description="Other words", title="Other words"),
    ),
    "another example": lambda d: _post(d)["requestBody"]["content"]["application/json"].pop("example"),
    "another version": lambda d: d["info"].update(version="9.9.9"),
}


def _edited(edit: Edit) -> dict[str, Any]:
    edited = copy.deepcopy(DOCUMENT)
    edit(edited)
    return edited


@pytest.mark.parametrize("name", BREAKING)
def test_a_change_that_breaks_clients_is_found_and_named(name: str) -> None:
    edit, expected = BREAKING[name]
    breaking = list(map(str, breaking_changes(DOCUMENT, _edited(edit))))
    assert any(change.startswith(expected) for change in breaking), breaking


@pytest.mark.parametrize("name", ADDITIONS)
def test_an_addition_is_named_and_breaks_nothing(name: str) -> None:
    edit, expected = ADDITIONS[name]
    changes = api_changes(DOCUMENT, _edited(edit))
    assert [str(change) for change in changes] == [expected]
    assert not changes[0].breaks_clients


@pytest.mark.parametrize("name", NO_CHANGES)
def test_texts_and_examples_do_not_change_the_api(name: str) -> None:
    assert api_changes(DOCUMENT, _edited(NO_CHANGES[name])) == []


@pytest.mark.parametrize("name", ADDITIONS)
def test_what_was_an_addition_cannot_be_taken_back_unless_it_concerned_the_service_alone(name: str) -> None:
    """Except where the service now sends less or promises more, the way back breaks clients of the new document."""
    edit, _ = ADDITIONS[name]
    assert breaking_changes(_edited(edit), DOCUMENT)
