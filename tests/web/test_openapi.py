"""The OpenAPI document describes every operation and field in a form that code generators read, with examples that are
valid by their schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tokensvc.callers.policy import VIEWER_APP_SCOPES
from tokensvc.http.error_codes import ERROR_CODES
from tokensvc.web.openapi import document
from tokensvc.web.openapi_schemas import in_words, public_name
from tokensvc.web.operations import TAG_DESCRIPTIONS, Operation, Tag
from tokensvc.web.routes import ADMIN, EVERYWHERE, OPERATIONS

DOCUMENT = document(OPERATIONS)
SCHEMAS = DOCUMENT["components"]["schemas"]
BY_NAME = {f"{o.method} {o.path}": o for o in OPERATIONS}


def _bodies(o: Operation[Any]) -> Iterator[tuple[Any, Any]]:
    yield o.request, o.example.request
    yield o.response, o.example.response


def _described(name: str) -> Any:
    method, path = name.split()
    return DOCUMENT["paths"][path][method.lower()]


def _invalid(schema: Any, value: object) -> list[str]:
    validator = jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})
    return [error.message for error in validator.iter_errors(value)]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _properties(names: Iterator[str]) -> Iterator[tuple[str, bool, Any]]:
    """Each field of these schemas, whether it is required, and its schema."""
    for name in names:
        schema = SCHEMAS[name]
        for field, described in schema.get("properties", {}).items():
            yield f"{name}.{field}", field in schema.get("required", ()), described


def _used(part: Any) -> set[str]:
    """The names of the schemas that this part of the document refers to, directly or not."""
    found: set[str] = set()
    pending = [part]
    while pending:
        names = {reference.rpartition("/")[2] for reference in _references(pending.pop()) if "/schemas/" in reference}
        pending += [SCHEMAS[name] for name in names - found]
        found |= names
    return found


RECEIVED = _used([_described(name).get("requestBody") for name in BY_NAME])
SENT = _used([_described(name)["responses"] for name in BY_NAME]) | _used(DOCUMENT["components"]["responses"])


@pytest.mark.slow
def test_the_document_is_valid_by_openapi_3_1() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_has_a_summary_a_description_and_statuses(name: str) -> None:
    described = _described(name)
    assert described["summary"]
    assert len(described["description"]) > len(described["summary"])
    statuses = {str(ERROR_CODES[code].status) for code in BY_NAME[name].errors}
    assert described["responses"].keys() == statuses | {str(BY_NAME[name].status), "default"}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_successful_response_has_a_body_unless_its_status_is_204(name: str) -> None:
    status = BY_NAME[name].status
    assert ("content" in _described(name)["responses"][str(status)]) == (status != 204)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_response_names_the_codes_that_it_can_have(name: str) -> None:
    problems = {status: r for status, r in _described(name)["responses"].items() if status.startswith(("4", "5"))}
    codes = [code for response in problems.values() for code in response["x-problem-codes"]]
    assert sorted(codes) == sorted(set(BY_NAME[name].errors))
    for status, response in problems.items():
        assert [*response["content"]["application/problem+json"]["examples"]] == response["x-problem-codes"]
        assert {ERROR_CODES[code].status for code in response["x-problem-codes"]} == {int(status)}
        assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))


def test_operations_have_unique_ids_that_are_words_in_camel_case() -> None:
    ids = [o.operation_id for o in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", each) for each in ids)


def test_every_operation_has_one_of_the_tags_and_every_tag_is_described() -> None:
    assert [tag["name"] for tag in DOCUMENT["tags"]] == list(Tag) == list(TAG_DESCRIPTIONS)
    assert {tag for name in BY_NAME for tag in _described(name)["tags"]} == set(Tag)
    assert all(tag["description"] for tag in DOCUMENT["tags"])


def test_servers_are_that_of_the_document_and_one_of_the_readers_choice() -> None:
    same, other = DOCUMENT["servers"]
    assert same["url"] == "/"
    assert other["variables"]["url"]["default"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_says_which_credentials_it_accepts(name: str) -> None:
    scope = BY_NAME[name].scope
    accepted = [] if not scope else ["apiKey", "viewerLogin"] if scope in VIEWER_APP_SCOPES else ["apiKey"]
    assert _described(name)["security"] == [{scheme: []} for scheme in accepted]


@pytest.mark.parametrize("name", BY_NAME)
def test_an_example_is_valid_by_its_schema(name: str) -> None:
    for model, example in _bodies(BY_NAME[name]):
        assert (model is None) == (example is None), "every body has an example"
        if model is not None:
            assert not _invalid({"$ref": f"#/components/schemas/{public_name(model)}"}, example)
    for parameter in _described(name).get("parameters", ()):
        if "example" in parameter:
            assert not _invalid(parameter["schema"], parameter["example"])


@pytest.mark.parametrize("code", DOCUMENT["components"]["examples"])
def test_the_example_of_a_problem_is_valid_and_has_its_code(code: str) -> None:
    value = DOCUMENT["components"]["examples"][code]["value"]
    assert value["code"] == code
    assert not _invalid({"$ref": "#/components/schemas/Problem"}, value)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_parameter_has_a_description_and_those_of_the_path_an_example(name: str) -> None:
    for parameter in _described(name).get("parameters", ()):
        assert parameter["description"]
        assert (parameter["in"] == "path") <= ("example" in parameter)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_has_a_public_name_and_a_title_in_words(name: str) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+)+", name)
    assert not name.endswith(("View", "Input", "Output"))
    assert SCHEMAS[name]["title"] == in_words(name)
    assert SCHEMAS[name]["description"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_has_a_description_and_a_title_in_words(name: str) -> None:
    for field, schema in SCHEMAS[name].get("properties", {}).items():
        text = schema.get("description", "")
        assert text, field
        assert not text.endswith("."), f"{field}: the reference adds the full stop"
        assert schema.get("title", in_words(field)) == in_words(field)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("playbackUrl", "Playback URL"),
        ("channelArns", "Channel ARNs"),
        ("ttlSeconds", "TTL seconds"),
        ("JwkSet", "JWK set"),
        ("id", "Id"),
        ("viewerSessionVersionsLessThanOrEqualTo", "Viewer session versions less than or equal to"),
    ],
)
def test_names_are_written_as_words(name: str, words: str) -> None:
    assert in_words(name) == words


@pytest.mark.slow
def test_a_schema_has_the_same_name_whichever_operations_are_described() -> None:
    for subset in (ADMIN, EVERYWHERE, *([o] for o in OPERATIONS)):
        described = document(subset)
        for name, schema in described["components"]["schemas"].items():
            assert SCHEMAS[name] == schema


def test_every_schema_is_used_and_every_reference_has_a_target() -> None:
    for reference in _references(DOCUMENT):
        part: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    assert _used(DOCUMENT["paths"]) | {"Problem", "ProblemCode"} == SCHEMAS.keys()


def test_no_field_of_a_body_has_a_default_because_generators_of_types_then_require_it() -> None:
    assert [field for field, _, schema in _properties(iter(SCHEMAS)) if "default" in schema] == []


def test_the_channel_is_all_that_a_token_request_requires() -> None:
    assert SCHEMAS["TokenRequest"]["required"] == ["channelArn"]


def test_a_member_of_a_response_that_may_be_missing_is_never_null() -> None:
    for field, required, schema in _properties(iter(SENT)):
        is_nullable = "null" in schema.get("type", ()) or {"type": "null"} in schema.get("anyOf", ())
        assert not is_nullable or required, field


def test_objects_of_requests_are_closed_and_those_of_responses_open() -> None:
    objects = {name for name, schema in SCHEMAS.items() if schema["type"] == "object"}
    assert not RECEIVED & SENT & objects
    assert all(SCHEMAS[name]["additionalProperties"] is False for name in RECEIVED & objects)
    assert all("additionalProperties" not in SCHEMAS[name] for name in SENT & objects)


def test_a_problem_has_one_of_the_codes() -> None:
    assert SCHEMAS["Problem"]["properties"]["code"]["$ref"] == "#/components/schemas/ProblemCode"
    assert SCHEMAS["ProblemCode"]["enum"] == list(ERROR_CODES)


def test_the_listeners_share_only_the_probes_and_the_description() -> None:
    assert not {o.path for o in ADMIN} & {o.path for o in EVERYWHERE}
    assert {o.path for o in EVERYWHERE} == {"/livez", "/readyz", "/openapi.json"}
