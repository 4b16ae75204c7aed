"""Tests of an app whose other AWS services are mocked by moto."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tokensvc.client import TokenRequest, TokensClient
from tokensvc.testing.account import Channel, IvsAccount
from tokensvc.testing.edge import Edge


@pytest.fixture
def mocked_before() -> Iterator[None]:
    """moto begins before the account is entered, and ends after it."""
    with mock_aws():
        yield


def use_app(channel: Channel) -> None:
    """An app that uses IVS and S3."""
    ivs, s3 = boto3.client("ivs"), boto3.client("s3")
    assert [found["arn"] for found in ivs.list_channels()["channels"]] == [channel.arn]
    s3.create_bucket(Bucket="recordings")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["recordings"]
    ivs.close()
    s3.close()


def test_inside_a_mock_an_app_uses_the_local_ivs(ivs_channel: Channel) -> None:
    with mock_aws():
        assert os.environ["AWS_ACCESS_KEY_ID"] == "FOOBARKEY"
        use_app(ivs_channel)


def test_a_mock_around_the_test_makes_no_difference(mocked_before: None, ivs_channel: Channel) -> None:
    use_app(ivs_channel)


def test_the_clients_of_the_account_work_inside_a_mock(ivs_account: IvsAccount, ivs_channel: Channel) -> None:
    with mock_aws():
        client: Any = ivs_account.client()
        assert client.get_channel(arn=ivs_channel.arn)["channel"]["authorized"]


@mock_aws
def test_the_token_service_works_inside_a_mock(
    tokensvc_url: str, tokensvc_api_key: str, ivs_channel: Channel, ivs_edge: Edge
) -> None:
    with TokensClient(tokensvc_url, tokensvc_api_key) as tokens:
        token = tokens.issue_token(TokenRequest(channel_arn=ivs_channel.arn, viewer_id="v"))
    assert token.playback_url is not None
    assert ivs_edge.open(token.playback_url).status == 200
