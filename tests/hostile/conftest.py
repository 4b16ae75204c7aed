"""The deployment that all tests of this folder share, reached directly, through nginx and through HAProxy.

Invariants
- The shared service is configured for use behind proxies (TRUSTED_PROXIES contains the loopback address), and no test
  stops it. A test that measures or exhausts memory starts its own service.
- A test that uses `entry` runs once directly and once through each proxy; the runs through proxies are marked long.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.hostile.messages import token, unique
from tests.hostile.proxies import haproxy, nginx
from tests.hostile.wire import Address, exchange
from tests.support.deployment import Deployment, LocalIvs, Service, local_ivs

SCOPES = ("tokens:issue", "revocations:read", "revocations:write")
OPTIONS = (
    "--all-channels",
    "--allow-anonymous-viewers",
    *(word for scope in SCOPES for word in ("--scope", scope)),
)
PROXIES = ("nginx", "nginx_unbuffered", "haproxy")


@pytest.fixture(scope="session")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    """`tokensvc ivs serve`."""
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@pytest.fixture(scope="session")
def deployment(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment on SQLite that trusts proxies on the loopback address."""
    created = Deployment(ivs, tmp_path_factory.mktemp("deployment"))
    created.environ["TOKENSVC_TRUSTED_PROXIES"] = "127.0.0.1"
    return created


@pytest.fixture(scope="session")
def key(deployment: Deployment) -> str:
    """The API key of a caller that may issue tokens for every channel and revoke them."""
    return deployment.set_up(*OPTIONS)


@pytest.fixture(scope="session")
def service(deployment: Deployment, key: str) -> Iterator[Service]:
    """`tokensvc serve`, one worker."""
    with deployment.serve() as running:
        yield running


@pytest.fixture(scope="session")
def direct(service: Service) -> Address:
    """The service's own address."""
    return address_of(service)


@pytest.fixture(scope="session")
def channel(deployment: Deployment, direct: Address, key: str) -> str:
    """The ARN of a private channel that the service knows."""
    arn = str(deployment.new_channel(name="hostile")["arn"])
    assert exchange(direct, token(arn, unique("first"), key)).status == 201
    return arn


@pytest.fixture(scope="session", name="nginx")
def _nginx(direct: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """nginx that forwards a request once it has received all of it."""
    with nginx(direct, tmp_path_factory.mktemp("nginx"), buffering="on") as address:
        yield address


@pytest.fixture(scope="session", name="nginx_unbuffered")
def _nginx_unbuffered(direct: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """nginx that forwards a request while receiving it."""
    with nginx(direct, tmp_path_factory.mktemp("nginx"), buffering="off") as address:
        yield address


@pytest.fixture(scope="session", name="haproxy")
def _haproxy(direct: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """HAProxy."""
    with haproxy(direct, tmp_path_factory.mktemp("haproxy")) as address:
        yield address


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> Address:
    """The address of each proxy in front of the service; for long tests."""
    address: Address = request.getfixturevalue(request.param)
    return address


@pytest.fixture(params=["direct", *(pytest.param(name, marks=pytest.mark.long) for name in PROXIES)])
def entry(request: pytest.FixtureRequest) -> Address:
    """The address of the service, then that of each proxy in front of it."""
    address: Address = request.getfixturevalue(request.param)
    return address


def address_of(service: Service) -> Address:
    url = urlsplit(service.url)
    return Address(str(url.hostname), url.port or 0)
