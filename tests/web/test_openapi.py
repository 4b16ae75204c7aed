"""The OpenAPI document describes every operation and field, with examples that are valid by their schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from tokensvc.http.error_codes import ERROR_CODES
from tokensvc.web.openapi import document
from tokensvc.web.operations import Operation
from tokensvc.web.routes import ADMIN, EVERYWHERE, OPERATIONS

DOCUMENT = document(OPERATIONS)
SCHEMAS = DOCUMENT["components"]["schemas"]
BY_NAME = {f"{o.method} {o.path}": o for o in OPERATIONS}


def _bodies(o: Operation[Any]) -> Iterator[tuple[Any, Any]]:
    yield o.request, o.example.request
    yield o.response, o.example.response


@pytest.mark.parametrize("name", BY_NAME)
def test_an_operation_has_a_summary_a_description_and_statuses(name: str) -> None:
    method, path = name.split()
    described = DOCUMENT["paths"][path][method.lower()]
    assert described["summary"]
    assert len(described["description"]) > len(described["summary"])
    statuses = {str(ERROR_CODES[code].status) for code in BY_NAME[name].errors}
    assert described["responses"].keys() == statuses | {str(BY_NAME[name].status)}


@pytest.mark.parametrize("name", BY_NAME)
def test_an_example_is_valid_by_its_schema(name: str) -> None:
    for model, example in _bodies(BY_NAME[name]):
        assert (model is None) == (example is None), "every body has an example"
        if model is not None:
            reference = {"$ref": f"#/components/schemas/{model.__name__}", "components": DOCUMENT["components"]}
            validator = jsonschema_rs.validator_for(reference)
            assert not [error.message for error in validator.iter_errors(example)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_has_a_description(name: str) -> None:
    for field, schema in SCHEMAS[name].get("properties", {}).items():
        text = schema.get("description", "")
        assert text, field
        assert not text.endswith("."), f"{field}: the reference adds the full stop"


def test_a_problem_has_one_of_the_codes() -> None:
    assert SCHEMAS["Problem"]["properties"]["code"]["enum"] == list(ERROR_CODES)


def test_the_listeners_share_only_the_probes_and_the_description() -> None:
    assert not {o.path for o in ADMIN} & {o.path for o in EVERYWHERE}
    assert {o.path for o in EVERYWHERE} == {"/livez", "/readyz", "/openapi.json"}
