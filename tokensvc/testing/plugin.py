"""The pytest plugin: fixtures with which tests use the local IVS, by the entry point `pytest11`.

Invariants
- Nothing is loaded or started unless a test asks for a fixture, since pytest loads this file in every test run.
- One local IVS for each process of pytest: with pytest-xdist, each worker has its own.
- Tests do not affect each other: each has an account of its own, and finds the clock at the time of this machine and
  no faults.
- The environment changes in `ivs_account` and in what is built on it, and is restored when the test ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tokensvc.testing.account import Channel, IvsAccount, KeyPair
    from tokensvc.testing.clock import ResettableClock
    from tokensvc.testing.edge import Edge
    from tokensvc.testing.faults import IvsFaults
    from tokensvc.testing.local_ivs import LocalIVS
    from tokensvc.testing.token_service import TokenService

SEED_OPTION = "ivs_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's one setting, in pytest's own configuration file."""
    parser.addini(
        SEED_OPTION, "TOML file with the channels, public keys and policies of each test's IVS account.", "paths"
    )


@pytest.fixture(scope="session")
def local_ivs() -> Iterator[LocalIVS]:
    """The local IVS of this test run. Most tests need `ivs_account` instead."""
    from tokensvc.testing import LocalIVS

    with LocalIVS() as ivs:
        yield ivs


@pytest.fixture
def ivs_account(local_ivs: LocalIVS, pytestconfig: pytest.Config) -> Iterator[IvsAccount]:
    """A new account, which boto3 uses in the app's code too, by AWS's environment variables."""
    from tokensvc.errors import SettingsError

    seeds = pytestconfig.getini(SEED_OPTION)
    if len(seeds) > 1:
        pytest.fail(f"{SEED_OPTION} must name one file", pytrace=False)
    try:
        account = local_ivs.new_account(seed=seeds[0] if seeds else None)
    except SettingsError as refused:
        pytest.fail(f"{SEED_OPTION}: {refused.operator_message}", pytrace=False)
    with account:
        yield account


@pytest.fixture
def ivs_client(ivs_account: IvsAccount) -> Any:
    """A boto3 client for IVS in the test's account."""
    return ivs_account.client()


@pytest.fixture
def ivs_channel(ivs_account: IvsAccount) -> Channel:
    """A private channel that is live: `arn`, `name` and `playback_url`."""
    return ivs_account.create_channel("private")


@pytest.fixture
def ivs_key_pair(ivs_account: IvsAccount) -> KeyPair:
    """A key pair whose public key is imported into IVS: `arn`, and `private_key` as PEM."""
    return ivs_account.create_key_pair("test")


@pytest.fixture
def ivs_edge(local_ivs: LocalIVS) -> Edge:
    """The playback edge: `open(url, token=…, origin=…)` returns `status`, `rule` and `body`."""
    return local_ivs.edge


@pytest.fixture
def ivs_clock(local_ivs: LocalIVS) -> Iterator[ResettableClock]:
    """The local IVS's clock: `advance(seconds)`. The next test finds the present time again."""
    yield local_ivs.clock
    local_ivs.clock.reset()


@pytest.fixture
def ivs_faults(local_ivs: LocalIVS) -> Iterator[IvsFaults]:
    """Makes calls of IVS fail: `inject("throttle", "GetChannel", count=1)`. The next test finds no faults."""
    yield local_ivs.faults
    local_ivs.faults.clear()


@pytest.fixture
def _token_service(ivs_account: IvsAccount) -> Iterator[TokenService]:
    with ivs_account.token_service() as service:
        yield service


@pytest.fixture
def tokensvc_url(_token_service: TokenService) -> str:
    """The URL of a token service in the test's account, whose key is imported and active."""
    return _token_service.url


@pytest.fixture
def tokensvc_api_key(_token_service: TokenService) -> str:
    """An API key of the token service that may request tokens for every channel, revoke and deny."""
    return _token_service.api_key
