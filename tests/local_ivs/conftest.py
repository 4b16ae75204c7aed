"""A local IVS in memory, with a clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.local_ivs.environment import HERE, FrozenClock, counting_strings
from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore


class CallIvs(Protocol):
    """Calls an operation for an account in a region."""

    def __call__(self, operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def model() -> ApiModel:
    return api_model.load()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def resources() -> Iterator[SqliteResourceStore]:
    store = SqliteResourceStore(":memory:")
    yield store
    store.close()


@pytest.fixture
def local(model: ApiModel, resources: SqliteResourceStore, clock: FrozenClock) -> LocalIvs:
    return LocalIvs(model, resources, clock, counting_strings(), b"page secret")


@pytest.fixture
def call(local: LocalIvs) -> CallIvs:
    def call_operation(operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> dict[str, Any]:
        return local.call(account_region, operation, request, "http://edge.test")

    return call_operation


@pytest.fixture
def source(resources: SqliteResourceStore, clock: FrozenClock) -> Simulator:
    """A source of streams that is controlled by the test."""
    return Simulator(resources, clock, counting_strings())
