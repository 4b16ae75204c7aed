"""The API contract at the root and under /ivs, tested with an unmodified boto3 over a socket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.local_ivs.environment import pem
from tests.local_ivs.http.conftest import SharedServer
from tests.local_ivs.http.signed_requests import send
from tokensvc.local_ivs import api_model

MISSING = "arn:aws:ivs:us-west-2:000000000000:{}/nothingThere"
UNUSUAL_TAGS = {"größe/a b+c": "x=y@z/w", "日本 語": "", "a:b/c": "1+1", "plus+plus": "per-cent"}


def test_a_channel_from_creation_to_deletion(client: Any, shared_server: SharedServer) -> None:
    created = client.create_channel(name="show", authorized=True, tags={"team": "video"})
    channel = created["channel"]
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert len(created["ResponseMetadata"]["RequestId"]) == 36
    assert channel["playbackUrl"].startswith(f"{shared_server.base_url}/api/video/v1/us-west-2.000000000000.channel.")
    assert client.get_channel(arn=channel["arn"])["channel"] == channel
    renamed = client.update_channel(arn=channel["arn"], name="other")["channel"]
    assert renamed == {**channel, "name": "other"}
    deleted = client.delete_channel(arn=channel["arn"])
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(client.exceptions.ResourceNotFoundException, match=f"Resource: {channel['arn']} not found"):
        client.get_channel(arn=channel["arn"])


@pytest.mark.usefixtures("empty_account")
def test_boto3s_paginators_work(client: Any) -> None:
    names = [f"c{number}" for number in range(7)]
    for name in names:
        client.create_channel(name=name)
    pages = list(client.get_paginator("list_channels").paginate(PaginationConfig={"PageSize": 3}))
    assert [[channel["name"] for channel in page["channels"]] for page in pages] == [names[:3], names[3:6], names[6:]]
    assert [c["name"] for c in client.list_channels(filterByName="c4")["channels"]] == ["c4"]


def test_a_batch_reports_missing_resources(client: Any) -> None:
    created = [client.create_channel() for _ in range(2)]
    missing = MISSING.format("channel")
    arns = [one["channel"]["arn"] for one in created]
    response = client.batch_get_channel(arns=[*arns, missing])
    assert [channel["arn"] for channel in response["channels"]] == arns
    assert [(error["arn"], error["code"]) for error in response["errors"]] == [(missing, "ResourceNotFoundException")]
    keys = client.batch_get_stream_key(arns=[one["streamKey"]["arn"] for one in created])["streamKeys"]
    assert keys == [one["streamKey"] for one in created]


def test_stream_keys_are_created_and_deleted(client: Any) -> None:
    created = client.create_channel()
    channel_arn, key = created["channel"]["arn"], created["streamKey"]
    assert client.get_stream_key(arn=key["arn"])["streamKey"] == key
    assert [k["arn"] for k in client.list_stream_keys(channelArn=channel_arn)["streamKeys"]] == [key["arn"]]
    assert client.delete_stream_key(arn=key["arn"])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.create_stream_key(channelArn=channel_arn)["streamKey"]["value"] != key["value"]


@pytest.mark.usefixtures("empty_account")
def test_key_pairs_are_imported_and_deleted(client: Any) -> None:
    pair = client.import_playback_key_pair(publicKeyMaterial=pem(1), name="mine", tags={"a": "b"})["keyPair"]
    assert client.get_playback_key_pair(arn=pair["arn"])["keyPair"] == pair
    (listed,) = client.list_playback_key_pairs()["keyPairs"]
    assert listed == {"arn": pair["arn"], "name": "mine", "tags": {"a": "b"}}
    deleted = client.delete_playback_key_pair(arn=pair["arn"])
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert client.list_playback_key_pairs()["keyPairs"] == []


def test_tags_survive_encoding_in_paths_and_queries(client: Any) -> None:
    arn = client.create_channel()["channel"]["arn"]
    client.tag_resource(resourceArn=arn, tags=UNUSUAL_TAGS)
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == UNUSUAL_TAGS
    first, *others = UNUSUAL_TAGS
    client.untag_resource(resourceArn=arn, tagKeys=others)
    client.untag_resource(resourceArn=arn, tagKeys=others)
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {first: UNUSUAL_TAGS[first]}


ERROR_CASES: dict[str, tuple[str, Callable[[Any], object]]] = {
    "no channel": ("ResourceNotFoundException", lambda c: c.get_channel(arn=MISSING.format("channel"))),
    "no stream key": ("ResourceNotFoundException", lambda c: c.delete_stream_key(arn=MISSING.format("stream-key"))),
    "no tags": (
        "ResourceNotFoundException",
        lambda c: c.list_tags_for_resource(resourceArn=MISSING.format("channel")),
    ),
    "no recording": (
        "ResourceNotFoundException",
        lambda c: c.create_channel(recordingConfigurationArn=MISSING.format("recording-configuration")),
    ),
    "second stream key": (
        "ServiceQuotaExceededException",
        lambda c: c.create_stream_key(channelArn=c.create_channel()["channel"]["arn"]),
    ),
    "filters": (
        "ConflictException",
        lambda c: c.list_channels(filterByName="a", filterByAdConfigurationArn=MISSING.format("ad-configuration")),
    ),
    "enum": ("ValidationException", lambda c: c.create_channel(type="CINEMA")),
    "too long": ("ValidationException", lambda c: c.create_channel(name="x" * 129)),
    "pattern": ("ValidationException", lambda c: c.create_channel(name="a b")),
    "another kind": ("ValidationException", lambda c: c.get_channel(arn=MISSING.format("stream-key"))),
    "page size": ("ValidationException", lambda c: c.list_channels(maxResults=101)),
    "next token": ("ValidationException", lambda c: c.list_channels(nextToken="forged")),
    "no key": ("ValidationException", lambda c: c.import_playback_key_pair(publicKeyMaterial="none")),
}


@pytest.mark.parametrize("case", ERROR_CASES)
def test_errors_are_typed_exceptions_of_boto3(client: Any, case: str) -> None:
    code, attempt = ERROR_CASES[case]
    with pytest.raises(getattr(client.exceptions, code)) as raised:
        attempt(client)
    response = raised.value.response
    assert response["Error"]["Code"] == code
    assert response["Error"]["Message"] == response["exceptionMessage"] != ""


@pytest.mark.usefixtures("empty_account")
def test_quota_and_conflict_of_key_pairs_are_typed(client: Any) -> None:
    for number in range(3):
        client.import_playback_key_pair(publicKeyMaterial=pem(number))
    with pytest.raises(client.exceptions.ConflictException):
        client.import_playback_key_pair(publicKeyMaterial=pem(0))
    with pytest.raises(client.exceptions.ServiceQuotaExceededException) as full:
        client.import_playback_key_pair(publicKeyMaterial=pem(3))
    assert full.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402


def test_requests_that_boto3_itself_would_reject_are_rejected(unvalidated_client: Any) -> None:
    for operation, request in (
        ("get_channel", {}),
        ("create_channel", {"authorized": "yes", "name": 5, "tags": {"": None}}),
        ("list_channels", {"maxResults": 0}),
        ("batch_get_channel", {"arns": []}),
    ):
        with pytest.raises(unvalidated_client.exceptions.ValidationException):
            getattr(unvalidated_client, operation)(**request)


@pytest.mark.slow
def test_accounts_and_regions_are_isolated(shared_server: SharedServer, client: Any) -> None:
    arn = client.create_channel(name="apart")["channel"]["arn"]
    for connected in (shared_server.client("other"), shared_server.client(region="eu-west-1")):
        with contextlib.closing(connected) as other_client:
            assert other_client.list_channels()["channels"] == []
            with pytest.raises(other_client.exceptions.ResourceNotFoundException):
                other_client.get_channel(arn=arn)
            own = other_client.create_channel()["channel"]["arn"]
            assert own.split(":")[3:5] != arn.split(":")[3:5]
            other_client.delete_channel(arn=own)


def test_a_space_sent_as_a_plus_is_read_as_it_was_signed(client: Any, shared_server: SharedServer) -> None:
    arn = client.create_channel(tags={"a b": "1", "c": "2"})["channel"]["arn"]
    url = f"{shared_server.endpoint_url}/tags/{quote(arn, safe='')}?tagKeys="
    request = AWSRequest("DELETE", url + "a%20b")
    SigV4Auth(Credentials("test", "test"), "ivs", "us-west-2").add_auth(request)
    reply = send("DELETE", url + "a+b", headers=dict(request.headers.items()), sign=False)
    assert reply.status == 200, reply
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"c": "2"}


def test_the_regions_are_those_of_botocore_and_others_are_rejected_by_name(shared_server: SharedServer) -> None:
    own = boto3.session.Session().get_available_regions("ivs")
    assert api_model.regions() == set(own)
    with (
        contextlib.closing(shared_server.client(region="mars-north-9")) as client,
        pytest.raises(ClientError) as raised,
    ):
        client.list_channels()
    assert all(region in str(raised.value) for region in own)
    assert "--any-region" in str(raised.value)


@pytest.mark.usefixtures("empty_account")
def test_concurrent_clients_import_at_most_three_key_pairs(client: Any) -> None:
    def attempt(number: int) -> str:
        try:
            client.import_playback_key_pair(publicKeyMaterial=pem(number))
        except client.exceptions.ServiceQuotaExceededException:
            return "full"
        return "imported"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(attempt, range(16)))
    assert outcomes.count("imported") == 3
    assert len(client.list_playback_key_pairs()["keyPairs"]) == 3


def test_an_advanced_clock_does_not_break_a_client(shared_server: SharedServer, client: Any) -> None:
    shared_server.components.clock.advance(3600)
    assert client.list_channels()["ResponseMetadata"]["HTTPStatusCode"] == 200
