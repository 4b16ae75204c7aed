"""Random requests to every operation succeed or fail, and a failed one changes nothing.

Requests are generated from the model's shapes, with ARNs of existing resources, so that they reach the rules beyond the
shapes. Some get an invalid value.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import Shape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_ivs.environment import HERE, OPERATIONS, FrozenClock, all_stored, counting_strings, pem, start_stream
from tests.local_ivs.factories import CREATORS, create_resource
from tests.local_ivs.test_model_against_botocore import SERVICE_MODEL, values
from tests.local_ivs.test_service import error_code
from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.local_ivs.api_model import status_of
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

pytestmark = pytest.mark.slow

FEW_EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
INVALID_VALUES = st.sampled_from([None, "", 0, -1, True, [], {}, "x" * 200, 2**40, [None], {"": None}, "\ud800"])


class PopulatedIvs:
    """A local IVS with one resource of each kind, one live channel, and one referenced configuration."""

    def __init__(self, model: ApiModel) -> None:
        self.resources = SqliteResourceStore(":memory:")
        self.local = LocalIvs(model, self.resources, FrozenClock(), counting_strings(), b"secret")
        self.arns = {kind: [create_resource(self._call, kind)] for kind in CREATORS}
        used = self.arns["recording-configuration"][0]
        live = self._call("CreateChannel", recordingConfigurationArn=used)["channel"]["arn"]
        start_stream(self.resources, live)
        self.arns["channel"].append(live)

    def _call(self, operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> dict[str, Any]:
        return self.local.call(account_region, operation, request, "")

    def requests(self, shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
        """Requests that the shape allows, most of them about existing resources."""
        members = {name: self._member(name, member) for name, member in shape.members.items()}
        required = {name: members.pop(name) for name in shape.required_members}
        return st.fixed_dictionaries(required, optional=members)

    def _member(self, name: str, shape: Shape) -> st.SearchStrategy[Any]:
        if shape.type_name == "structure":
            return self.requests(shape)
        if shape.type_name == "list":
            return st.lists(self._member(name, shape.member), min_size=shape.metadata.get("min", 0), max_size=3)
        if name == "publicKeyMaterial":
            return st.integers(1, 5).map(pem)
        if name == "nextToken":
            return st.just("")
        there = [arn for arns in self.arns.values() for arn in arns if self._fits(shape, arn)]
        return st.sampled_from(there) | values(shape) if there else values(shape)

    @staticmethod
    def _fits(shape: Shape, arn: str) -> bool:
        kind = parse_arn(arn).kind.replace("-", "")
        return shape.name.endswith("Arn") and (shape.name == "ResourceArn" or kind in shape.name.lower())


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_request_succeeds_or_fails_without_changing_anything(name: str, model: ApiModel) -> None:
    populated = PopulatedIvs(model)
    requests = populated.requests(SERVICE_MODEL.operation_model(name).input_shape)

    @FEW_EXAMPLES
    @given(requests, st.none() | st.tuples(st.integers(0, 9), INVALID_VALUES))
    def holds(request: dict[str, Any], mutation: tuple[int, Any] | None) -> None:
        if request and mutation:
            request = request | {sorted(request)[mutation[0] % len(request)]: mutation[1]}
        before = all_stored(populated.resources)
        code = error_code(populated.local, name, request)
        if code is not None:
            assert 400 <= status_of(model, code) < 500
            assert all_stored(populated.resources) == before

    holds()
    populated.resources.close()
