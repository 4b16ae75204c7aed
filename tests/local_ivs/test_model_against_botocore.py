"""The model interpreter agrees with botocore, AWS's own client library, about every operation in both directions.

Requests that botocore serializes are parsed unchanged here; responses rendered here are parsed unchanged by botocore.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.model import Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.utils import percent_encode_sequence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_ivs.environment import OPERATIONS
from tokensvc.local_ivs.api_model import SERVICE, patched
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.shapes import compile_pattern

DESCRIPTION = patched(Loader().load_service_model(SERVICE, "service-2"))
SERVICE_MODEL = BotocoreModel(DESCRIPTION, SERVICE)
SERIALIZER = create_serializer("rest-json", include_validation=False)
PARSER = create_parser("rest-json")
FEW_EXAMPLES = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
MAX_LIST_LENGTH = 3


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that a shape allows."""
    constraints = shape.metadata
    match shape.type_name:
        case "structure":
            members = {n: values(m) for n, m in shape.members.items() if m.serialization.get("location") != "header"}
            required = {n: members.pop(n) for n in shape.required_members if n in members}
            return st.fixed_dictionaries(required, optional=members)
        case "list":
            min_size = 1 if shape.serialization.get("location") == "querystring" else constraints.get("min", 0)
            return st.lists(values(shape.member), min_size=min_size, max_size=MAX_LIST_LENGTH)
        case "map":
            return st.dictionaries(values(shape.key), values(shape.value), max_size=MAX_LIST_LENGTH)
        case "string" if "enum" in constraints:
            return st.sampled_from(constraints["enum"])
        case "string" if "pattern" in constraints:
            text = st.from_regex(compile_pattern(constraints["pattern"]), fullmatch=True)
            return text.filter(lambda value: constraints.get("min", 0) <= len(value) <= constraints.get("max", 9999))
        case "string":
            max_size = constraints.get("max", 40)
            return st.text(
                st.characters(exclude_categories=["Cs"]), min_size=constraints.get("min", 0), max_size=max_size
            )
        case "integer":
            return st.integers(constraints.get("min", -(2**31)), constraints.get("max", 2**31 - 1))
        case "long":
            return st.integers(constraints.get("min", -(2**63)), constraints.get("max", 2**63 - 1))
        case "boolean":
            return st.booleans()
        case "timestamp":
            spans = st.timedeltas(timedelta(), timedelta(days=36500))
            return spans.map(lambda span: datetime(1970, 1, 1, tzinfo=UTC) + span)
    raise AssertionError(f"no values for {shape}")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_requests_serialized_by_botocore_are_parsed_unchanged(name: str, model: ApiModel) -> None:
    operation = SERVICE_MODEL.operation_model(name)

    @FEW_EXAMPLES
    @given(values(operation.input_shape))
    def holds(request: dict[str, Any]) -> None:
        sent = SERIALIZER.serialize_to_request(request, operation)
        match = model.route(sent["method"], sent["url_path"].encode())
        assert match is not None
        assert match.operation.name == name
        query = percent_encode_sequence(sent["query_string"]).encode()
        unvalidated = model.parse_request(match, query, sent["body"] or b"")
        assert match.operation.validate_request(unvalidated) == request

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_responses_rendered_here_are_parsed_by_botocore_unchanged(name: str, model: ApiModel) -> None:
    operation = SERVICE_MODEL.operation_model(name)
    if operation.output_shape is None:
        assert model.operations[name].status == 204
        assert model.operations[name].render_response({"anything": 1}) == {}
        return

    @FEW_EXAMPLES
    @given(values(operation.output_shape))
    def holds(response: dict[str, Any]) -> None:
        body = json.dumps(model.operations[name].render_response(response)).encode()
        parsed = PARSER.parse({"body": body, "headers": {}, "status_code": 200}, operation.output_shape)
        parsed.pop("ResponseMetadata")
        assert parsed == response

    holds()
