"""Session-wide fixtures of the end-to-end tests: a demo, a local IVS, and one deployment with its service.

Invariants
- Session-wide processes are started once, and no test changes them; a test that stops, kills or floods a process
  starts its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.demo import Demo, running_demo
from tests.support.deployment import Deployment, LocalIvs, Service, local_ivs
from tests.support.http_client import Client
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.postgres import unavailable_reason as postgres_unavailable_reason


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`tokensvc demo`, in an empty folder, on a free port."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; a test that stops it starts it again."""
    if reason := postgres_unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    """`tokensvc ivs serve`."""
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


class _Prepared(NamedTuple):
    deployment: Deployment
    key: str


@pytest.fixture(scope="session")
def _prepared(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> _Prepared:
    deployment = Deployment(ivs, tmp_path_factory.mktemp("deployment"))
    return _Prepared(deployment, deployment.set_up("--all-channels", "--allow-anonymous-viewers"))


@pytest.fixture(scope="session")
def deployment(_prepared: _Prepared) -> Deployment:
    """A deployment with an active key."""
    return _prepared.deployment


@pytest.fixture(scope="session")
def key(_prepared: _Prepared) -> str:
    """The API key of a caller for every channel, with or without a viewer."""
    return _prepared.key


@pytest.fixture(scope="session")
def service(deployment: Deployment) -> Iterator[Service]:
    """`tokensvc serve`, one worker."""
    with deployment.serve() as running:
        yield running


@pytest.fixture(scope="session")
def channel(deployment: Deployment) -> Any:
    """A private channel, as boto3 describes it."""
    return deployment.new_channel(name="shared")


@pytest.fixture
def caller(service: Service, key: str) -> Iterator[Client]:
    """A client with that key, which the service has loaded."""
    with service.client(key) as client:
        yield client
