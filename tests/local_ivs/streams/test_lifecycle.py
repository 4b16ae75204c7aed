"""A channel is live from the start of its stream to its end, and the API shows it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import (
    HERE,
    OTHER_ACCOUNT,
    OTHER_REGION,
    START,
    FrozenClock,
    all_stored,
    counting_strings,
)
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams import lifecycle
from tokensvc.local_ivs.streams.operations import METADATA_MAX_BYTES


def stream_of(call: CallIvs, channel: str) -> dict[str, Any]:
    stream: dict[str, Any] = call("GetStream", channelArn=channel)["stream"]
    return stream


def test_a_live_stream_shows_all_members(call: CallIvs, source: Simulator, channel: str) -> None:
    """The AWS CLI's example of get-stream."""
    stream_id = source.start(channel)
    assert stream_of(call, channel) == {
        "channelArn": channel,
        "streamId": stream_id,
        "playbackUrl": call("GetChannel", arn=channel)["channel"]["playbackUrl"],
        "startTime": "2027-01-15T08:00:00Z",
        "state": "LIVE",
        "health": "HEALTHY",
        "viewerCount": 0,
    }
    (listed,) = call("ListStreams")["streams"]
    assert set(listed) == {"channelArn", "streamId", "startTime", "state", "health", "viewerCount"}
    assert stream_id.startswith("st-")
    assert len(stream_id) == 26


def test_a_channel_that_is_not_live_is_not_broadcasting(call: CallIvs, source: Simulator, channel: str) -> None:
    for operation, more in (("GetStream", {}), ("StopStream", {}), ("PutMetadata", {"metadata": "x"})):
        with pytest.raises(IvsError, match=f"ChannelNotBroadcasting: Channel: {channel}"):
            call(operation, channelArn=channel, **more)
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call(operation, channelArn=f"{channel}x", **more)
    assert call("ListStreams")["streams"] == []
    for step in (source.stop, lambda arn: source.set_health(arn, "STARVING"), lambda arn: source.set_viewers(arn, 1)):
        with pytest.raises(IvsError, match="ChannelNotBroadcasting"):
            step(channel)
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            step(f"{channel}x")


def test_a_stopped_stream_may_start_again(call: CallIvs, source: Simulator, channel: str) -> None:
    first = source.start(channel)
    assert call("StopStream", channelArn=channel) == {}
    with pytest.raises(IvsError, match="ChannelNotBroadcasting"):
        call("StopStream", channelArn=channel)
    assert source.start(channel) != first


def test_a_channel_has_at_most_one_stream(
    call: CallIvs, source: Simulator, channel: str, resources: SqliteResourceStore
) -> None:
    source.start(channel)
    before = all_stored(resources)
    with pytest.raises(IvsError, match="ConflictException"):
        source.start(channel)
    assert all_stored(resources) == before


def test_a_live_channel_can_be_neither_updated_nor_deleted(call: CallIvs, source: Simulator, channel: str) -> None:
    source.start(channel)
    for operation in ("UpdateChannel", "DeleteChannel"):
        with pytest.raises(IvsError, match="ConflictException"):
            call(operation, arn=channel)
    source.stop(channel)
    call("UpdateChannel", arn=channel, name="other")
    call("DeleteChannel", arn=channel)


def test_streams_are_listed_by_health_in_pages(call: CallIvs, source: Simulator) -> None:
    arns = [call("CreateChannel")["channel"]["arn"] for _ in range(5)]
    for arn in arns:
        source.start(arn)
    for arn in arns[1:4]:
        source.set_health(arn, "STARVING")
    source.set_health(arns[4], "UNKNOWN")

    def listed(**filters: Any) -> list[str]:
        return [stream["channelArn"] for stream in call("ListStreams", **filters)["streams"]]

    assert listed() == listed(filterBy={}) == arns
    assert listed(filterBy={"health": "STARVING"}) == arns[1:4]
    assert listed(filterBy={"health": "HEALTHY"}) == arns[:1]
    assert listed(filterBy={"health": "UNKNOWN"}) == arns[4:]
    first = call("ListStreams", filterBy={"health": "STARVING"}, maxResults=2)
    rest = call("ListStreams", filterBy={"health": "STARVING"}, maxResults=2, nextToken=first["nextToken"])
    assert [s["channelArn"] for s in first["streams"] + rest["streams"]] == arns[1:4]
    assert "nextToken" not in rest
    for other in ({"health": "HEALTHY"}, {}):
        with pytest.raises(IvsError, match="nextToken"):
            call("ListStreams", filterBy=other, nextToken=first["nextToken"])
    with pytest.raises(IvsError, match="ValidationException"):
        call("ListStreams", filterBy={"health": "FINE"})


def test_streams_of_other_accounts_and_regions_are_not_visible(call: CallIvs, source: Simulator, channel: str) -> None:
    source.start(channel)
    for account_region in (OTHER_ACCOUNT, OTHER_REGION):
        assert call("ListStreams", account_region)["streams"] == []
        for operation in ("GetStream", "StopStream", "GetStreamSession", "ListStreamSessions"):
            with pytest.raises(IvsError, match="ResourceNotFoundException"):
                call(operation, account_region, channelArn=channel)


def test_the_stream_source_sets_the_viewer_count(call: CallIvs, source: Simulator, channel: str) -> None:
    source.start(channel)
    source.set_viewers(channel, 4711)
    assert stream_of(call, channel)["viewerCount"] == 4711


@pytest.mark.parametrize(
    ("metadata", "rejected"),
    [("x" * 1024, False), ("x" * 1025, True), ("é" * 512, False), ("é" * 512 + "x", True), ("", True)],
    ids=["1024", "1025", "1024 of two", "1025 of two", "none"],
)
def test_metadata_has_at_most_one_kilobyte(
    call: CallIvs, source: Simulator, channel: str, metadata: str, rejected: bool
) -> None:
    """API reference, PutMetadata: "Maximum: 1 KB per request". INFERRED: bytes of UTF-8."""
    assert METADATA_MAX_BYTES == 1024
    source.start(channel)
    if not rejected:
        assert call("PutMetadata", channelArn=channel, metadata=metadata) == {}
        return
    with pytest.raises(IvsError, match=r"ValidationException.*'metadata'") as problem:
        call("PutMetadata", channelArn=channel, metadata=metadata)
    assert "xxx" not in problem.value.message


def test_the_media_of_a_channel_are_prepared_when_it_goes_live(
    call: CallIvs, channel: str, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    prepared: list[tuple[str, str]] = []
    source = Simulator(resources, clock, counting_strings(), lambda *names: prepared.append(names))
    source.start(channel)
    assert prepared == [(channel, call("GetChannel", arn=channel)["channel"]["name"])]
    with pytest.raises(IvsError):
        source.start(channel)
    assert len(prepared) == 1


def test_metadata_is_stored_until_the_end_of_the_stream(
    call: CallIvs, source: Simulator, channel: str, resources: SqliteResourceStore
) -> None:
    source.start(channel)
    call("PutMetadata", channelArn=channel, metadata="a secret of the show")
    assert "a secret of the show" in str(all_stored(resources))
    source.stop(channel)
    assert "secret" not in str(all_stored(resources))


def test_more_than_one_hundred_streams_are_rejected(call: CallIvs, source: Simulator) -> None:
    """IVS user guide, "Service Quotas": concurrent streams 100; excess streams are rejected."""
    assert lifecycle.MAX_CONCURRENT_STREAMS == 100
    arns = [call("CreateChannel")["channel"]["arn"] for _ in range(101)]
    for arn in arns[:100]:
        source.start(arn)
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        source.start(arns[100])
    with pytest.raises(IvsError, match="ChannelNotBroadcasting"):
        call("GetStream", channelArn=arns[100])
    source.stop(arns[0])
    source.start(arns[100])
    assert stream_of(call, arns[100])["startTime"] is not None
    assert len(call("ListStreams")["streams"]) == 100
    assert HERE.region in arns[0]
    assert START == 1_800_000_000
