"""Configurations and revocations with an unmodified boto3 over a socket: success, and each error that can occur."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.local_ivs.http.conftest import SharedServer
from tests.local_ivs.http.local_ivs_server import local_ivs_server
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.service import HANDLERS

pytestmark = pytest.mark.slow

MISSING = "arn:aws:ivs:us-west-2:000000000000:{}/nothingThere"
MEDIATAILOR = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/ads"}]
S3 = {"s3": {"bucketName": "my-bucket"}}
BOTO3_NAMES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "playback-restriction-policy": ("playback_restriction_policy", "playback_restriction_policies", {}),
    "recording-configuration": (
        "recording_configuration",
        "recording_configurations",
        {"destinationConfiguration": S3},
    ),
    "ad-configuration": ("ad_configuration", "ad_configurations", {"mediaTailorPlaybackConfigurations": MEDIATAILOR}),
    "failover-slate-configuration": ("failover_slate_configuration", "failover_slate_configurations", {}),
}
"""Kind -> boto3's singular and plural names, and the minimal request of a create."""
REFERENCES = {referred: member for member, referred in RESOURCE_TYPES["channel"].references.items()}


@pytest.fixture
def client(client: Any) -> Any:
    """Delete what earlier tests left, since quotas count it."""
    for channel in [c for page in client.get_paginator("list_channels").paginate() for c in page["channels"]]:
        with contextlib.suppress(client.exceptions.ConflictException):
            client.update_channel(arn=channel["arn"], **dict.fromkeys(REFERENCES.values(), ""))
    for kind, (singular, plural, _) in BOTO3_NAMES.items():
        for existing in getattr(client, f"list_{plural}")(maxResults=100)[RESOURCE_TYPES[kind].list_member]:
            with contextlib.suppress(client.exceptions.ConflictException):
                getattr(client, f"delete_{singular}")(arn=existing["arn"])
    return client


def create(client: Any, kind: str, **more: Any) -> dict[str, Any]:
    singular, _, minimal_request = BOTO3_NAMES[kind]
    created: dict[str, Any] = getattr(client, f"create_{singular}")(**{**minimal_request, **more})[
        RESOURCE_TYPES[kind].member
    ]
    return created


@pytest.mark.parametrize("kind", BOTO3_NAMES)
def test_a_resource_from_creation_to_deletion(client: Any, kind: str) -> None:
    singular, plural, _ = BOTO3_NAMES[kind]
    created = create(client, kind, name="before", tags={"a": "b"})
    assert getattr(client, f"get_{singular}")(arn=created["arn"])[RESOURCE_TYPES[kind].member] == created
    if "update" in RESOURCE_TYPES[kind].operations:
        changed = getattr(client, f"update_{singular}")(arn=created["arn"], name="after")[RESOURCE_TYPES[kind].member]
        assert (changed["name"], changed["arn"]) == ("after", created["arn"])
    client.tag_resource(resourceArn=created["arn"], tags={"c": "d"})
    assert client.list_tags_for_resource(resourceArn=created["arn"])["tags"] == {"a": "b", "c": "d"}
    assert created["arn"] in [
        found["arn"] for found in getattr(client, f"list_{plural}")()[RESOURCE_TYPES[kind].list_member]
    ]
    deleted = getattr(client, f"delete_{singular}")(arn=created["arn"])
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204


@pytest.mark.parametrize("kind", BOTO3_NAMES)
def test_each_error_that_can_occur_is_typed(client: Any, kind: str) -> None:
    singular, plural, _ = BOTO3_NAMES[kind]
    for verb in RESOURCE_TYPES[kind].operations.keys() & {"get", "update", "delete"}:
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            getattr(client, f"{verb}_{singular}")(arn=MISSING.format(kind))
        with pytest.raises(client.exceptions.ValidationException):
            getattr(client, f"{verb}_{singular}")(arn="no arn")
    with pytest.raises(client.exceptions.ValidationException):
        create(client, kind, name="a b")
    with pytest.raises(client.exceptions.ValidationException):
        getattr(client, f"list_{plural}")(nextToken="forged")
    used = create(client, kind)
    channel = client.create_channel(**{REFERENCES[kind]: used["arn"]})["channel"]["arn"]
    with pytest.raises(client.exceptions.ConflictException) as conflict:
        getattr(client, f"delete_{singular}")(arn=used["arn"])
    assert conflict.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    client.update_channel(arn=channel, **{REFERENCES[kind]: ""})
    for _ in range(RESOURCE_TYPES[kind].quota - 1):
        create(client, kind)
    with pytest.raises(client.exceptions.ServiceQuotaExceededException) as full:
        create(client, kind)
    assert full.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402


def test_viewer_sessions_are_revoked(client: Any) -> None:
    arn = client.create_channel()["channel"]["arn"]
    viewer_session = {"channelArn": arn, "viewerId": "v"}
    response = client.start_viewer_session_revocation(**viewer_session, viewerSessionVersionsLessThanOrEqualTo=7)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 200
    missing = {"channelArn": MISSING.format("channel"), "viewerId": "w"}
    batch = client.batch_start_viewer_session_revocation(viewerSessions=[viewer_session, missing])
    assert [(e["channelArn"], e["viewerId"], e["code"]) for e in batch["errors"]] == [
        (missing["channelArn"], "w", "ResourceNotFoundException")
    ]
    assert "errors" not in client.batch_start_viewer_session_revocation(viewerSessions=[viewer_session])


ERROR_CASES: dict[str, tuple[str, Callable[[Any], object]]] = {
    "no channel": (
        "ResourceNotFoundException",
        lambda c: c.start_viewer_session_revocation(channelArn=MISSING.format("channel"), viewerId="v"),
    ),
    "long viewer": (
        "ValidationException",
        lambda c: c.start_viewer_session_revocation(channelArn=MISSING.format("channel"), viewerId="v" * 41),
    ),
    "many viewers": (
        "ValidationException",
        lambda c: c.batch_start_viewer_session_revocation(
            viewerSessions=[{"channelArn": MISSING.format("channel"), "viewerId": "v"}] * 21
        ),
    ),
    "country": ("ValidationException", lambda c: c.create_playback_restriction_policy(allowedCountries=["UK"])),
    "origins": (
        "ServiceQuotaExceededException",
        lambda c: c.create_playback_restriction_policy(allowedOrigins=[f"https://{n}.example" for n in range(6)]),
    ),
    "renditions": (
        "ValidationException",
        lambda c: c.create_recording_configuration(
            destinationConfiguration=S3, renditionConfiguration={"renditionSelection": "CUSTOM"}
        ),
    ),
    "four ads": (
        "ValidationException",
        lambda c: c.create_ad_configuration(mediaTailorPlaybackConfigurations=MEDIATAILOR * 4),
    ),
    "slate": ("ValidationException", lambda c: c.create_failover_slate_configuration(maxSlateDisplaySeconds=181)),
    "no policy": (
        "ResourceNotFoundException",
        lambda c: c.create_channel(playbackRestrictionPolicyArn=MISSING.format("playback-restriction-policy")),
    ),
}


@pytest.mark.parametrize("case", ERROR_CASES)
def test_errors_are_typed_exceptions_of_boto3(client: Any, case: str) -> None:
    code, attempt = ERROR_CASES[case]
    with pytest.raises(getattr(client.exceptions, code)) as raised:
        attempt(client)
    assert raised.value.response["Error"]["Message"]


@pytest.mark.parametrize("kind", sorted(BOTO3_NAMES.keys() - {"playback-restriction-policy"}))
def test_boto3s_paginators_find_all_resources(client: Any, kind: str) -> None:
    created = [create(client, kind)["arn"] for _ in range(5)]
    pages = client.get_paginator(f"list_{BOTO3_NAMES[kind][1]}").paginate(PaginationConfig={"PageSize": 2})
    found = [[resource["arn"] for resource in page[RESOURCE_TYPES[kind].list_member]] for page in pages]
    assert [arn for page in found for arn in page] == created
    assert [len(page) for page in found] == [2, 2, 1]


def test_states_follow_the_advanced_clock(client: Any, shared_server: SharedServer) -> None:
    arn = create(client, "recording-configuration")["arn"]
    shared_server.components.clock.advance(60)
    assert client.get_recording_configuration(arn=arn)["recordingConfiguration"]["state"] == "ACTIVE"


def test_a_page_token_stays_valid_over_a_restart(tmp_path: Path) -> None:
    database = str(tmp_path / "ivs.db")
    with local_ivs_server(database) as server, contextlib.closing(server.client()) as before:
        for name in ("one", "two"):
            before.create_channel(name=name)
        token = before.list_channels(maxResults=1)["nextToken"]
    with local_ivs_server(database) as server, contextlib.closing(server.client()) as after:
        assert [channel["name"] for channel in after.list_channels(nextToken=token)["channels"]] == ["two"]


def test_concurrent_accounts_and_regions_stay_isolated(shared_server: SharedServer) -> None:
    """A few hundred calls over HTTP; `tests/local_ivs/test_concurrency.py` makes thousands without it."""

    def run(number: int) -> set[str]:
        access_key, region = (("test", "other")[number % 2], ("us-east-1", "eu-central-1")[number // 2 % 2])
        rng = random.Random(number)
        own: set[str] = set()
        with contextlib.closing(shared_server.client(access_key, region=region)) as mine:
            for _ in range(40):
                if len(own) < 3 or rng.random() < 0.3:
                    own.add(mine.create_channel(name=f"n{number}")["channel"]["arn"])
                else:
                    arn = rng.choice(sorted(own))
                    assert mine.get_channel(arn=arn)["channel"]["name"] == f"n{number}"
                    mine.tag_resource(resourceArn=arn, tags={"by": str(number)})
            listed = {c["arn"] for page in mine.get_paginator("list_channels").paginate() for c in page["channels"]}
            assert own <= listed
        return own

    with ThreadPoolExecutor(8) as threads:
        owned = list(threads.map(run, range(8)))
    assert len(set().union(*owned)) == sum(map(len, owned))
    for number, arns in enumerate(owned):
        assert {arn.split(":")[3] for arn in arns} == {("us-east-1", "eu-central-1")[number // 2 % 2]}


def test_every_operation_of_a_resource_type_is_served() -> None:
    served = {
        operation.name for resource_type in RESOURCE_TYPES.values() for operation in resource_type.operations.values()
    }
    assert served < HANDLERS.keys()
