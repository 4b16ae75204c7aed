"""A local IVS in memory, on a clock that stands still until it is told to go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.ivs.stage import HERE, StandingClock, counting_token
from tokensvc.adapters.sql.local_ivs import LocalIvsResources
from tokensvc.core.arn import Place
from tokensvc.ivs import surface
from tokensvc.ivs.embedded import LocalIvs
from tokensvc.ivs.model import Model


class CallIvs(Protocol):
    """Perform an operation in a place."""

    def __call__(self, operation: str, place: Place = HERE, /, **request: Any) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def model() -> Model:
    return surface.load()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def resources() -> Iterator[LocalIvsResources]:
    kept = LocalIvsResources(":memory:")
    yield kept
    kept.close()


@pytest.fixture
def local(model: Model, resources: LocalIvsResources, clock: StandingClock) -> LocalIvs:
    return LocalIvs(model, resources, clock, counting_token(), b"a secret of pages")


@pytest.fixture
def call(local: LocalIvs) -> CallIvs:
    def perform(operation: str, place: Place = HERE, /, **request: Any) -> dict[str, Any]:
        return local.call(place, operation, request, "http://edge.test")

    return perform
