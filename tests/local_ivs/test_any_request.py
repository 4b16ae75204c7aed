"""Whatever request comes, for every operation: it works or is refused, and a refusal changes nothing.

The requests are made from the model's shapes, with the names of resources that are there, so that they reach the rules
behind the shapes; then some are bent.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import Shape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_ivs.environment import HERE, OPERATIONS, StandingClock, counting_token, everything, pem, start_stream
from tests.local_ivs.factories import MAKERS, make
from tests.local_ivs.test_model_against_botocore import SERVICE_MODEL, values
from tests.local_ivs.test_service import outcome
from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.local_ivs.api_model import status_of
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

pytestmark = pytest.mark.slow

SEVERAL = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
BENT = st.sampled_from([None, "", 0, -1, True, [], {}, "x" * 200, 2**40, [None], {"": None}, "\ud800"])


class Furnished:
    """A local IVS that holds one of each kind, one live channel, and one configuration in use."""

    def __init__(self, model: ApiModel) -> None:
        self.resources = SqliteResourceStore(":memory:")
        self.local = LocalIvs(model, self.resources, StandingClock(), counting_token(), b"secret")
        self.arns = {kind: [make(self._call, kind)] for kind in MAKERS}
        used = self.arns["recording-configuration"][0]
        live = self._call("CreateChannel", recordingConfigurationArn=used)["channel"]["arn"]
        start_stream(self.resources, live)
        self.arns["channel"].append(live)

    def _call(self, operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> dict[str, Any]:
        return self.local.call(account_region, operation, request, "")

    def requests(self, shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
        """Requests that the shape allows, most of them about what is there."""
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
def test_a_request_works_or_is_refused_and_then_changes_nothing(name: str, model: ApiModel) -> None:
    furnished = Furnished(model)
    requests = furnished.requests(SERVICE_MODEL.operation_model(name).input_shape)

    @SEVERAL
    @given(requests, st.none() | st.tuples(st.integers(0, 9), BENT))
    def holds(request: dict[str, Any], bend: tuple[int, Any] | None) -> None:
        if request and bend:
            request = request | {sorted(request)[bend[0] % len(request)]: bend[1]}
        before = everything(furnished.resources)
        code = outcome(furnished.local, name, request)
        if code is not None:
            assert 400 <= status_of(model, code) < 500
            assert everything(furnished.resources) == before

    holds()
    furnished.resources.close()
