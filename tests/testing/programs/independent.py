"""Tests of an app, in an order in which each would notice what the one before has left."""

from __future__ import annotations

import os
from typing import Any

import boto3
import pytest

from tokensvc.testing import LocalIVS
from tokensvc.testing.account import Channel, IvsAccount, KeyPair
from tokensvc.testing.clock import ResettableClock
from tokensvc.testing.faults import IvsFaults

pytestmark = pytest.mark.filterwarnings("error")
BEFORE = dict(os.environ)
ACCOUNTS: list[str] = []


def app_client() -> Any:
    """What an app does: boto3's default session, configured by the environment."""
    return boto3.client("ivs")


@pytest.fixture(autouse=True)
def _unchanged_environment() -> None:
    """Before each test, and after the one before."""
    current = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    assert current == {name: value for name, value in BEFORE.items() if name != "PYTEST_CURRENT_TEST"}
    assert boto3.DEFAULT_SESSION is None


@pytest.mark.parametrize("number", range(3))
def test_an_app_sees_only_what_its_own_test_created(
    ivs_account: IvsAccount, ivs_channel: Channel, ivs_key_pair: KeyPair, ivs_client: Any, number: int
) -> None:
    client = app_client()
    assert [channel["arn"] for channel in client.list_channels()["channels"]] == [ivs_channel.arn]
    assert [pair["arn"] for pair in ivs_client.list_playback_key_pairs()["keyPairs"]] == [ivs_key_pair.arn]
    assert client.get_stream(channelArn=ivs_channel.arn)["stream"]["state"] == "LIVE"
    assert ivs_account.account_id not in ACCOUNTS
    ACCOUNTS.append(ivs_account.account_id)
    client.close()


@pytest.mark.parametrize("number", range(2))
def test_an_advanced_clock_is_set_back(ivs_clock: ResettableClock, number: int) -> None:
    assert ivs_clock.offset_seconds == 0
    ivs_clock.advance(600)
    assert ivs_clock.offset_seconds == 600


@pytest.mark.parametrize("number", range(2))
def test_a_fault_ends_with_its_test(ivs_faults: IvsFaults, ivs_client: Any, number: int) -> None:
    assert ivs_client.list_channels()["channels"] == []
    ivs_faults.inject("error")


def test_all_tests_have_the_same_server(local_ivs: LocalIVS, ivs_account: IvsAccount) -> None:
    assert ivs_account.endpoint_url == local_ivs.url == os.environ["AWS_ENDPOINT_URL_IVS"]


def test_the_shared_server_alone_changes_no_environment(local_ivs: LocalIVS) -> None:
    assert "AWS_ENDPOINT_URL_IVS" not in os.environ
