"""A local IVS in memory, on a clock that stands still until it is told to go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.local_ivs.environment import HERE, StandingClock, counting_token
from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore


class CallIvs(Protocol):
    """Perform an operation in a place."""

    def __call__(self, operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def model() -> ApiModel:
    return api_model.load()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def resources() -> Iterator[SqliteResourceStore]:
    kept = SqliteResourceStore(":memory:")
    yield kept
    kept.close()


@pytest.fixture
def local(model: ApiModel, resources: SqliteResourceStore, clock: StandingClock) -> LocalIvs:
    return LocalIvs(model, resources, clock, counting_token(), b"a secret of pages")


@pytest.fixture
def call(local: LocalIvs) -> CallIvs:
    def perform(operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> dict[str, Any]:
        return local.call(account_region, operation, request, "http://edge.test")

    return perform
