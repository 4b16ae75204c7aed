"""AWS's own client library judges the interpreter, in both directions, for every operation of the model.

What botocore writes, we read as it was meant; what we write, botocore reads as it was meant.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.utils import percent_encode_sequence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_ivs.environment import OPERATIONS
from tokensvc.local_ivs.api_model import SERVICE, patched
from tokensvc.local_ivs.model import ServiceModel
from tokensvc.local_ivs.shapes import compile_pattern

DESCRIPTION = patched(Loader().load_service_model(SERVICE, "service-2"))
SERVICE_MODEL = ServiceModel(DESCRIPTION, SERVICE)
SERIALIZER = create_serializer("rest-json", include_validation=False)
PARSER = create_parser("rest-json")
MODEST = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
LONGEST_LIST = 3


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that a shape allows."""
    of = shape.metadata
    match shape.type_name:
        case "structure":
            members = {n: values(m) for n, m in shape.members.items() if m.serialization.get("location") != "header"}
            required = {n: members.pop(n) for n in shape.required_members if n in members}
            return st.fixed_dictionaries(required, optional=members)
        case "list":
            least = 1 if shape.serialization.get("location") == "querystring" else of.get("min", 0)
            return st.lists(values(shape.member), min_size=least, max_size=LONGEST_LIST)
        case "map":
            return st.dictionaries(values(shape.key), values(shape.value), max_size=LONGEST_LIST)
        case "string" if "enum" in of:
            return st.sampled_from(of["enum"])
        case "string" if "pattern" in of:
            text = st.from_regex(compile_pattern(of["pattern"]), fullmatch=True)
            return text.filter(lambda value: of.get("min", 0) <= len(value) <= of.get("max", 9999))
        case "string":
            most = of.get("max", 40)
            return st.text(st.characters(exclude_categories=["Cs"]), min_size=of.get("min", 0), max_size=most)
        case "integer":
            return st.integers(of.get("min", -(2**31)), of.get("max", 2**31 - 1))
        case "long":
            return st.integers(of.get("min", -(2**63)), of.get("max", 2**63 - 1))
        case "boolean":
            return st.booleans()
        case "timestamp":
            spans = st.timedeltas(timedelta(), timedelta(days=36500))
            return spans.map(lambda span: datetime(1970, 1, 1, tzinfo=UTC) + span)
    raise AssertionError(f"no values for {shape}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_botocore_writes_is_read_as_it_was_meant(name: str, model: ServiceModel) -> None:
    described = SERVICE_MODEL.operation_model(name)

    @MODEST
    @given(values(described.input_shape))
    def holds(request: dict[str, Any]) -> None:
        sent = SERIALIZER.serialize_to_request(request, described)
        match = model.route(sent["method"], sent["url_path"].encode())
        assert match is not None
        assert match.operation.name == name
        query = percent_encode_sequence(sent["query_string"]).encode()
        gathered = model.parse_request(match, query, sent["body"] or b"")
        assert match.operation.check(gathered) == request

    holds()


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_we_write_is_read_by_botocore_as_it_was_meant(name: str, model: ServiceModel) -> None:
    described = SERVICE_MODEL.operation_model(name)
    if described.output_shape is None:
        assert model.operations[name].status == 204
        assert model.operations[name].dump({"anything": 1}) == {}
        return

    @MODEST
    @given(values(described.output_shape))
    def holds(answer: dict[str, Any]) -> None:
        body = json.dumps(model.operations[name].dump(answer)).encode()
        parsed = PARSER.parse({"body": body, "headers": {}, "status_code": 200}, described.output_shape)
        parsed.pop("ResponseMetadata")
        assert parsed == answer

    holds()
