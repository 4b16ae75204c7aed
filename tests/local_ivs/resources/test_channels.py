"""Channels follow the rules of CreateChannel, UpdateChannel and Channel in the API reference."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import OTHER_REGION
from tokensvc.local_ivs.errors import IvsError

MULTITRACK = {"enabled": True, "policy": "REQUIRE", "maximumResolution": "HD"}
FRAGMENTED = {"containerFormat": "FRAGMENTED_MP4"}


def test_a_channel_has_the_defaults_of_the_aws_clis_examples(call: CallIvs) -> None:
    channel = call("CreateChannel", name="test-channel")["channel"]
    generated = {name: channel.pop(name) for name in ("arn", "srt", "ingestEndpoint", "playbackUrl")}

    assert channel == {
        "name": "test-channel",
        "latencyMode": "LOW",
        "type": "STANDARD",
        "authorized": False,
        "insecureIngest": False,
        "preset": "",
        "containerFormat": "TS",
        "recordingConfigurationArn": "",
        "playbackRestrictionPolicyArn": "",
        "adConfigurationArn": "",
        "failoverSlateConfigurationArn": "",
        "multitrackInputConfiguration": {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"},
        "tags": {},
    }
    assert re.fullmatch(r"arn:aws:ivs:us-west-2:000000000000:channel/[A-Za-z0-9]{12}", generated["arn"])
    assert re.fullmatch(r"[0-9a-f]{12}\.global-contribute\.live-video\.net", generated["ingestEndpoint"])
    assert re.fullmatch(r"[0-9a-f]{12}\.srt\.live-video\.net", generated["srt"]["endpoint"])
    assert re.fullmatch(r"[A-Za-z0-9]{69}", generated["srt"]["passphrase"])
    channel_id = generated["arn"].rpartition("/")[2]
    assert generated["playbackUrl"] == (
        f"http://edge.test/api/video/v1/us-west-2.000000000000.channel.{channel_id}.m3u8"
    )


def test_a_channel_is_created_with_a_stream_key(call: CallIvs) -> None:
    created = call("CreateChannel", tags={"team": "video"})
    channel, key = created["channel"], created["streamKey"]

    assert key["channelArn"] == channel["arn"]
    assert re.fullmatch(rf"sk_us-west-2_{channel['arn'].rpartition('/')[2]}_[a-z0-9]{{12}}", key["value"])
    assert key["tags"] == {}
    assert call("GetStreamKey", arn=key["arn"])["streamKey"] == key


def test_an_account_has_one_host_prefix_per_region(call: CallIvs) -> None:
    one, two = (call("CreateChannel")["channel"] for _ in range(2))
    elsewhere = call("CreateChannel", OTHER_REGION)["channel"]

    assert one["ingestEndpoint"] == two["ingestEndpoint"] != elsewhere["ingestEndpoint"]
    assert one["ingestEndpoint"].split(".")[0] == one["srt"]["endpoint"].split(".")[0]


@pytest.mark.parametrize("channel_type", ["ADVANCED_HD", "ADVANCED_SD"])
def test_advanced_types_have_a_preset(call: CallIvs, channel_type: str) -> None:
    assert call("CreateChannel", type=channel_type)["channel"]["preset"] == "HIGHER_BANDWIDTH_DELIVERY"
    chosen = call("CreateChannel", type=channel_type, preset="CONSTRAINED_BANDWIDTH_DELIVERY")["channel"]
    assert chosen["preset"] == "CONSTRAINED_BANDWIDTH_DELIVERY"
    assert call("UpdateChannel", arn=chosen["arn"], type="STANDARD")["channel"]["preset"] == ""
    assert call("UpdateChannel", arn=chosen["arn"], type=channel_type)["channel"]["preset"] == (
        "HIGHER_BANDWIDTH_DELIVERY"
    )


@pytest.mark.parametrize("channel_type", ["BASIC", "STANDARD"])
def test_other_types_reject_a_preset(call: CallIvs, channel_type: str) -> None:
    with pytest.raises(IvsError, match=r"ValidationException.*'preset'"):
        call("CreateChannel", type=channel_type, preset="HIGHER_BANDWIDTH_DELIVERY")


def test_a_complete_multitrack_configuration_is_accepted(call: CallIvs) -> None:
    channel = call("CreateChannel", multitrackInputConfiguration=MULTITRACK, **FRAGMENTED)["channel"]
    assert channel["multitrackInputConfiguration"] == MULTITRACK
    assert channel["containerFormat"] == "FRAGMENTED_MP4"


@pytest.mark.parametrize(
    ("request_", "at"),
    [
        ({"multitrackInputConfiguration": MULTITRACK}, "containerFormat"),
        ({"multitrackInputConfiguration": MULTITRACK, "containerFormat": "TS"}, "containerFormat"),
        ({"multitrackInputConfiguration": MULTITRACK, "type": "BASIC", **FRAGMENTED}, "enabled"),
        ({"multitrackInputConfiguration": MULTITRACK, "type": "ADVANCED_HD", **FRAGMENTED}, "enabled"),
        ({"multitrackInputConfiguration": {"enabled": True, "policy": "ALLOW"}, **FRAGMENTED}, "maximumResolution"),
        ({"multitrackInputConfiguration": {"enabled": True, "maximumResolution": "SD"}, **FRAGMENTED}, "policy"),
    ],
    ids=["no-container", "ts", "basic", "advanced", "no-resolution", "no-policy"],
)
def test_an_incomplete_multitrack_configuration_is_rejected(call: CallIvs, request_: dict[str, Any], at: str) -> None:
    with pytest.raises(IvsError, match=f"ValidationException.*{at}"):
        call("CreateChannel", **request_)
    plain = call("CreateChannel")["channel"]
    with pytest.raises(IvsError, match=f"ValidationException.*{at}"):
        call("UpdateChannel", arn=plain["arn"], **request_)
    assert call("GetChannel", arn=plain["arn"])["channel"] == plain


def test_an_update_must_not_contradict_the_stored_members(call: CallIvs) -> None:
    arn = call("CreateChannel", multitrackInputConfiguration=MULTITRACK, **FRAGMENTED)["channel"]["arn"]
    for change in ({"type": "BASIC"}, {"containerFormat": "TS"}):
        with pytest.raises(IvsError, match="ValidationException"):
            call("UpdateChannel", arn=arn, **change)
    off = call("UpdateChannel", arn=arn, multitrackInputConfiguration={"enabled": False}, containerFormat="TS")
    assert off["channel"]["multitrackInputConfiguration"]["enabled"] is False


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        ("recordingConfigurationArn", "recording-configuration"),
        ("playbackRestrictionPolicyArn", "playback-restriction-policy"),
        ("adConfigurationArn", "ad-configuration"),
        ("failoverSlateConfigurationArn", "failover-slate-configuration"),
    ],
)
def test_referenced_resources_must_exist(call: CallIvs, member: str, kind: str) -> None:
    arn = f"arn:aws:ivs:us-west-2:000000000000:{kind}/abcdABCDefgh"
    channel = call("CreateChannel")["channel"]
    for operation, given in (("CreateChannel", {}), ("UpdateChannel", {"arn": channel["arn"]})):
        with pytest.raises(IvsError, match=f"ResourceNotFoundException: Resource: {arn} not found"):
            call(operation, **given, **{member: arn})
    assert call("UpdateChannel", arn=channel["arn"], **{member: ""})["channel"] == channel


def test_ads_are_rejected_with_fragmented_mp4(call: CallIvs) -> None:
    arn = "arn:aws:ivs:us-west-2:000000000000:ad-configuration/abcdABCDefgh"
    with pytest.raises(IvsError, match=r"ValidationException.*adConfigurationArn"):
        call("CreateChannel", adConfigurationArn=arn, **FRAGMENTED)


def test_an_update_keeps_members_that_are_not_given(call: CallIvs) -> None:
    before = call("CreateChannel", name="before", authorized=True, tags={"a": "b"})["channel"]
    after = call("UpdateChannel", arn=before["arn"], name="after")["channel"]
    assert after == {**before, "name": "after"}
    assert call("GetChannel", arn=before["arn"])["channel"] == after


def test_deleting_a_channel_deletes_its_stream_key(call: CallIvs) -> None:
    created = call("CreateChannel")
    assert call("DeleteChannel", arn=created["channel"]["arn"]) == {}
    for operation, arn in (
        ("GetChannel", created["channel"]["arn"]),
        ("DeleteChannel", created["channel"]["arn"]),
        ("GetStreamKey", created["streamKey"]["arn"]),
    ):
        with pytest.raises(IvsError, match=f"ResourceNotFoundException: Resource: {arn} not found"):
            call(operation, arn=arn)
    assert call("ListChannels") == {"channels": []}
