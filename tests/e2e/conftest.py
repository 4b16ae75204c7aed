"""What the end-to-end tests share for the whole run: a demo, a local IVS, and one deployment with its service.

Rules of the file
- Shared processes are started once and are never broken by a test; a test that stops, kills or floods has its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.deployment import LocalIvs, Service, Deployment, local_ivs
from tests.support.http_client import Client
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.postgres import unavailable_reason as why_no_postgres
from tests.support.processes import TOKENSVC, Process, environment, started


class Demo(NamedTuple):
    """A demo that runs."""

    folder: Path
    process: Process
    facts: dict[str, str]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`tokensvc demo`, in an empty folder, on a free port."""
    folder = tmp_path_factory.mktemp("demo")
    with started([TOKENSVC, "demo", "--port", "0"], folder, environment(folder / "home"), "demo") as process:
        process.awaits(lambda: "keys rotate" in process.out, "it printed its commands")
        yield Demo(folder, process, json.loads((folder / ".demo" / "demo.json").read_text()))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; whoever stops it starts it again."""
    if missing := why_no_postgres():
        pytest.skip(missing)
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    """`tokensvc ivs serve`."""
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


class _Furnished(NamedTuple):
    site: Deployment
    key: str


@pytest.fixture(scope="session")
def _furnished(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> _Furnished:
    site = Deployment(ivs, tmp_path_factory.mktemp("site"))
    return _Furnished(site, site.furnish("--all-channels", "--allow-anonymous-viewers"))


@pytest.fixture(scope="session")
def site(_furnished: _Furnished) -> Deployment:
    """A deployment with a key that signs."""
    return _furnished.site


@pytest.fixture(scope="session")
def key(_furnished: _Furnished) -> str:
    """The API key of a caller that may ask for every channel, with or without a viewer."""
    return _furnished.key


@pytest.fixture(scope="session")
def service(site: Deployment) -> Iterator[Service]:
    """`tokensvc serve`, one worker."""
    with site.serve() as running:
        yield running


@pytest.fixture(scope="session")
def channel(site: Deployment) -> Any:
    """A private channel, as boto3 describes it."""
    return site.new_channel(name="shared")


@pytest.fixture
def caller(service: Service, key: str) -> Iterator[Client]:
    """A client with that key, which the service has heard of."""
    with service.client(key) as client:
        yield client
