"""What refers to what: a channel to its configurations, which stay while it does; and a live channel stays as it is."""

from __future__ import annotations

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_ACCOUNT, OTHER_REGION, StandingClock, everything, start_stream
from tests.local_ivs.factories import MAKERS, make
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.resources.channels import CHANNEL
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.storage import SqliteResourceStore

REFERENCES = sorted(CHANNEL.references.items())
FILTERS = {member: name for name, member in CHANNEL.filters.items() if member in CHANNEL.references}


@pytest.mark.parametrize(("member", "kind"), REFERENCES)
def test_a_channel_refers_to_what_there_is_until_told_otherwise(call: CallIvs, member: str, kind: str) -> None:
    """API reference, UpdateChannel: "" takes a reference away."""
    arn = make(call, kind)
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
def test_what_is_in_use_is_not_deleted(call: CallIvs, resources: SqliteResourceStore, member: str, kind: str) -> None:
    """API reference, DeleteRecordingConfiguration: 409 while a channel refers to it. INFERRED for the other kinds."""
    arn, delete = make(call, kind), RESOURCE_TYPES[kind].operations["delete"].name
    channel = call("CreateChannel", **{member: arn})["channel"]["arn"]
    before = everything(resources)
    with pytest.raises(IvsError, match=f"ConflictException: The {kind} is in use by a channel"):
        call(delete, arn=arn)
    assert everything(resources) == before
    call("UpdateChannel", arn=channel, **{member: ""})
    assert call(delete, arn=arn) == {}


@pytest.mark.parametrize(("member", "kind"), REFERENCES)
def test_what_is_elsewhere_cannot_be_referred_to(call: CallIvs, member: str, kind: str) -> None:
    for place in (OTHER_ACCOUNT, OTHER_REGION):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call("CreateChannel", **{member: make(call, kind, place)})


def test_ads_do_not_go_with_fragmented_mp4_whichever_comes_first(call: CallIvs) -> None:
    """User guide, "Server-Side Ad Insertion"."""
    ads = make(call, "ad-configuration")
    with_ads = call("CreateChannel", adConfigurationArn=ads)["channel"]["arn"]
    fragmented = call("CreateChannel", containerFormat="FRAGMENTED_MP4")["channel"]["arn"]
    for arn, change in ((with_ads, {"containerFormat": "FRAGMENTED_MP4"}), (fragmented, {"adConfigurationArn": ads})):
        with pytest.raises(IvsError, match=r"ValidationException.*adConfigurationArn"):
            call("UpdateChannel", arn=arn, **change)


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "stream-key"])
@pytest.mark.parametrize("account_region", [OTHER_ACCOUNT, OTHER_REGION], ids=["account", "region"])
def test_no_kind_is_seen_from_elsewhere(
    call: CallIvs, resources: SqliteResourceStore, kind: str, account_region: tuple[str, str]
) -> None:
    arn, operations = make(call, kind), RESOURCE_TYPES[kind].operations
    before = everything(resources)
    elsewhere = type(HERE)(*account_region)
    assert call(operations["list"], elsewhere) == {RESOURCE_TYPES[kind].members: []}
    for verb in operations.keys() & {"get", "update", "delete"}:
        with pytest.raises(IvsError, match=f"ResourceNotFoundException: Resource: {arn} not found"):
            call(operations[verb], elsewhere, arn=arn)
    assert everything(resources) == before


def test_a_live_channel_is_neither_changed_nor_deleted(
    call: CallIvs, resources: SqliteResourceStore, clock: StandingClock
) -> None:
    """API reference: DeleteChannel 409 while live, its stream to be stopped first; UpdateChannel: "can't update a live
    channel", 409 INFERRED."""
    arn = call("CreateChannel")["channel"]["arn"]
    start_stream(resources, arn, clock)
    before = everything(resources)
    for operation, change in (("UpdateChannel", {"name": "x"}), ("DeleteChannel", {})):
        with pytest.raises(IvsError, match="ConflictException: The channel is live"):
            call(operation, arn=arn, **change)
    with pytest.raises(IvsError, match="ValidationException"):
        call("UpdateChannel", arn=arn, preset="HIGHER_BANDWIDTH_DELIVERY")
    assert everything(resources) == before
    call("StopStream", channelArn=arn)
    assert call("UpdateChannel", arn=arn, name="x")["channel"]["name"] == "x"
    assert call("DeleteChannel", arn=arn) == {}


def test_five_thousand_channels_are_the_quota() -> None:
    """Service Quotas; each other kind's quota is reached in its own tests."""
    assert CHANNEL.quota == 5000
