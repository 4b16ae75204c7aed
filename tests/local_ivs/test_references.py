"""References between resources: referenced configurations cannot be deleted, and live channels cannot be changed."""

from __future__ import annotations

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_ACCOUNT, OTHER_REGION, FrozenClock, all_stored, start_stream
from tests.local_ivs.factories import CREATORS, create_resource
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.resources.channels import CHANNEL
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.storage import SqliteResourceStore

REFERENCES = sorted(CHANNEL.references.items())
FILTERS = {member: name for name, member in CHANNEL.filters.items() if member in CHANNEL.references}


@pytest.mark.parametrize(("member", "kind"), REFERENCES)
def test_a_channel_keeps_a_reference_until_it_is_removed(call: CallIvs, member: str, kind: str) -> None:
    """API reference, UpdateChannel: "" removes a reference."""
    arn = create_resource(call, kind)
    created = call("CreateChannel", **{member: arn})["channel"]
    plain = call("CreateChannel")["channel"]
    assert created[member] == arn
    assert call("UpdateChannel", arn=plain["arn"], **{member: arn})["channel"] == {**plain, member: arn}
    assert [c["arn"] for c in call("ListChannels", **{FILTERS[member]: arn})["channels"]] == [
        created["arn"],
        plain["arn"],
    ]
    assert call("UpdateChannel", arn=plain["arn"], **{member: ""})["channel"] == plain
    assert [c["arn"] for c in call("ListChannels", **{FILTERS[member]: arn})["channels"]] == [created["arn"]]


@pytest.mark.parametrize(("member", "kind"), REFERENCES)
def test_a_referenced_resource_cannot_be_deleted(
    call: CallIvs, resources: SqliteResourceStore, member: str, kind: str
) -> None:
    """API reference, DeleteRecordingConfiguration: 409 while a channel refers to it. INFERRED for other resources."""
    arn, delete = create_resource(call, kind), RESOURCE_TYPES[kind].operations["delete"].name
    channel = call("CreateChannel", **{member: arn})["channel"]["arn"]
    before = all_stored(resources)
    with pytest.raises(IvsError, match=f"ConflictException: The {kind} is in use by a channel"):
        call(delete, arn=arn)
    assert all_stored(resources) == before
    call("UpdateChannel", arn=channel, **{member: ""})
    assert call(delete, arn=arn) == {}


@pytest.mark.parametrize(("member", "kind"), REFERENCES)
def test_a_channel_cannot_refer_to_another_account_or_region(call: CallIvs, member: str, kind: str) -> None:
    for account_region in (OTHER_ACCOUNT, OTHER_REGION):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call("CreateChannel", **{member: create_resource(call, kind, account_region)})


def test_ads_and_fragmented_mp4_exclude_each_other_in_updates(call: CallIvs) -> None:
    """User guide, "Server-Side Ad Insertion"."""
    ads = create_resource(call, "ad-configuration")
    with_ads = call("CreateChannel", adConfigurationArn=ads)["channel"]["arn"]
    fragmented = call("CreateChannel", containerFormat="FRAGMENTED_MP4")["channel"]["arn"]
    for arn, change in ((with_ads, {"containerFormat": "FRAGMENTED_MP4"}), (fragmented, {"adConfigurationArn": ads})):
        with pytest.raises(IvsError, match=r"ValidationException.*adConfigurationArn"):
            call("UpdateChannel", arn=arn, **change)


@pytest.mark.parametrize("kind", [kind for kind in CREATORS if kind != "stream-key"])
@pytest.mark.parametrize("account_region", [OTHER_ACCOUNT, OTHER_REGION], ids=["account", "region"])
def test_no_resource_is_visible_from_another_account_or_region(
    call: CallIvs, resources: SqliteResourceStore, kind: str, account_region: tuple[str, str]
) -> None:
    arn, operations = create_resource(call, kind), RESOURCE_TYPES[kind].operations
    before = all_stored(resources)
    elsewhere = type(HERE)(*account_region)
    assert call(operations["list"].name, elsewhere) == {RESOURCE_TYPES[kind].list_member: []}
    for verb in operations.keys() & {"get", "update", "delete"}:
        with pytest.raises(IvsError, match=f"ResourceNotFoundException: Resource: {arn} not found"):
            call(operations[verb].name, elsewhere, arn=arn)
    assert all_stored(resources) == before


def test_a_live_channel_can_be_neither_updated_nor_deleted(
    call: CallIvs, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    """API reference: DeleteChannel 409 while live, its stream to be stopped first; UpdateChannel: "can't update a live
    channel", 409 INFERRED."""
    arn = call("CreateChannel")["channel"]["arn"]
    start_stream(resources, arn, clock)
    before = all_stored(resources)
    for operation, change in (("UpdateChannel", {"name": "x"}), ("DeleteChannel", {})):
        with pytest.raises(IvsError, match="ConflictException: The channel is live"):
            call(operation, arn=arn, **change)
    with pytest.raises(IvsError, match="ValidationException"):
        call("UpdateChannel", arn=arn, preset="HIGHER_BANDWIDTH_DELIVERY")
    assert all_stored(resources) == before
    call("StopStream", channelArn=arn)
    assert call("UpdateChannel", arn=arn, name="x")["channel"]["name"] == "x"
    assert call("DeleteChannel", arn=arn) == {}


def test_the_channel_quota_is_five_thousand() -> None:
    """Service Quotas. The quotas of other resources are tested with those resources."""
    assert CHANNEL.quota == 5000
