"""Ad breaks are inserted into live streams of channels with an ad configuration, and never overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import START, FrozenClock, all_stored, start_stream
from tests.support.case_ids import stable_repr
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.storage import SqliteResourceStore

MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/show"


@pytest.fixture
def channel(call: CallIvs, resources: SqliteResourceStore) -> str:
    """A live channel with ads."""
    configurations = [{"playbackConfigurationArn": MEDIATAILOR}]
    created = call("CreateAdConfiguration", mediaTailorPlaybackConfigurations=configurations)
    arn = call("CreateChannel", name="show", adConfigurationArn=created["adConfiguration"]["arn"])["channel"]["arn"]
    start_stream(resources, arn)
    return str(arn)


def insert(call: CallIvs, channel: str, seconds: int = 30, **more: Any) -> dict[str, Any]:
    return call("InsertAdBreak", channelArn=channel, durationSeconds=seconds, **more)


def in_seconds(seconds: float) -> str:
    return (datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)).isoformat()


def test_an_ad_break_gets_an_id_and_starts_now(call: CallIvs, channel: str) -> None:
    inserted = insert(call, channel)
    assert inserted["targetStartAt"] == "2027-01-15T08:00:00Z"
    assert len(inserted["adBreakId"]) == 12
    (newest, *_) = call("GetStreamSession", channelArn=channel)["streamSession"]["truncatedEvents"]
    assert (newest["type"], newest["name"]) == ("IVS Ad Break State Change", "Ad Break Inserted")


def test_the_caller_may_choose_id_and_time(call: CallIvs, channel: str) -> None:
    inserted = insert(call, channel, adBreakId="hSi2o1WIVgij", targetStartAt=in_seconds(90))
    assert inserted == {"adBreakId": "hSi2o1WIVgij", "targetStartAt": "2027-01-15T08:01:30Z"}
    with pytest.raises(IvsError, match="ConflictException"):
        insert(call, channel, adBreakId="hSi2o1WIVgij", targetStartAt=in_seconds(900))


@pytest.mark.parametrize("past", [in_seconds(-60), "0001-01-01T00:00:00Z", 0], ids=stable_repr)
def test_a_start_time_in_the_past_means_now(call: CallIvs, channel: str, past: Any) -> None:
    assert insert(call, channel, targetStartAt=past)["targetStartAt"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("start", "seconds", "overlaps"),
    [(0, 10, False), (0, 11, True), (15, 1, True), (29, 30, True), (30, 300, False), (5, 300, True)],
)
def test_ad_breaks_must_not_overlap(call: CallIvs, channel: str, start: int, seconds: int, overlaps: bool) -> None:
    """API reference, InsertAdBreak: ConflictException. The first break lasts from 10 to 30 seconds."""
    insert(call, channel, 20, targetStartAt=in_seconds(10))
    if not overlaps:
        insert(call, channel, seconds, targetStartAt=in_seconds(start))
        return
    with pytest.raises(IvsError, match="ConflictException"):
        insert(call, channel, seconds, targetStartAt=in_seconds(start))


@pytest.mark.parametrize(("start", "overlaps"), [(2, True), (3, False)])
def test_ad_breaks_must_not_share_a_segment(call: CallIvs, channel: str, start: int, overlaps: bool) -> None:
    """A segment is two seconds long, and shows the slate of one ad break only."""
    first = insert(call, channel, 1, targetStartAt=in_seconds(1))
    if overlaps:
        with pytest.raises(IvsError, match="ConflictException"):
            insert(call, channel, 1, targetStartAt=in_seconds(start))
    else:
        assert insert(call, channel, 1, targetStartAt=in_seconds(start)) != first


def test_an_ad_break_requires_a_live_stream_and_an_ad_configuration(
    call: CallIvs, channel: str, resources: SqliteResourceStore
) -> None:
    plain = call("CreateChannel")["channel"]["arn"]
    with pytest.raises(IvsError, match="ChannelNotBroadcasting"):
        insert(call, plain)
    start_stream(resources, plain)
    with pytest.raises(IvsError, match="ValidationException"):
        insert(call, plain)
    with pytest.raises(IvsError, match="ResourceNotFoundException"):
        insert(call, f"{channel}x")
    call("StopStream", channelArn=channel)
    with pytest.raises(IvsError, match="ChannelNotBroadcasting"):
        insert(call, channel)


@pytest.mark.parametrize(
    "request_",
    [
        {"durationSeconds": 0},
        {"durationSeconds": 301},
        {"durationSeconds": 1, "adBreakId": "short"},
        {"durationSeconds": 1, "adBreakId": "x" * 11 + "-"},
        {"durationSeconds": 1, "targetStartAt": "tomorrow"},
        {},
    ],
    ids=stable_repr,
)
def test_invalid_requests_are_rejected(
    call: CallIvs, channel: str, resources: SqliteResourceStore, request_: dict[str, Any]
) -> None:
    before = all_stored(resources)
    with pytest.raises(IvsError, match="ValidationException"):
        call("InsertAdBreak", channelArn=channel, **request_)
    assert all_stored(resources) == before


def test_a_new_stream_has_no_ad_breaks_of_the_previous_one(
    call: CallIvs, channel: str, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    insert(call, channel, 300, adBreakId="hSi2o1WIVgij")
    call("StopStream", channelArn=channel)
    start_stream(resources, channel, clock)
    insert(call, channel, 300, adBreakId="hSi2o1WIVgij")
