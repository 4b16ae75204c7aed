"""Stream sessions record the channel, the ingest configuration and the events of a stream, for 60 days."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import FrozenClock
from tests.support.case_ids import stable_repr
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams.ingest import DEFAULT_INGEST
from tokensvc.local_ivs.streams.sessions import MAX_EVENTS, RETENTION_SECONDS

DAY = 24 * 3600


@pytest.fixture
def channel(call: CallIvs) -> str:
    return str(call("CreateChannel", name="show", tags={"a": "b"})["channel"]["arn"])


def session(call: CallIvs, channel: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = call("GetStreamSession", channelArn=channel, **more)["streamSession"]
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [event["name"] for event in found["truncatedEvents"]]


def test_a_live_session_has_no_end_time(call: CallIvs, source: Simulator, channel: str) -> None:
    stream_id = source.start(channel)
    found = session(call, channel)
    assert set(found) == {
        *("streamId", "startTime", "channel", "ingestConfiguration", "ingestConfigurations", "truncatedEvents")
    }
    assert (found["streamId"], found["startTime"]) == (stream_id, "2027-01-15T08:00:00Z")
    assert found["truncatedEvents"] == [
        {"name": name, "type": "IVS Stream State Change", "eventTime": "2027-01-15T08:00:00Z"}
        for name in ("Stream Start", "Session Created")
    ]
    (listed,) = call("ListStreamSessions", channelArn=channel)["streamSessions"]
    assert listed == {"streamId": stream_id, "startTime": "2027-01-15T08:00:00Z", "hasErrorEvent": False}


def test_an_ended_session_has_an_end_time(call: CallIvs, source: Simulator, channel: str, clock: FrozenClock) -> None:
    source.start(channel)
    clock.at += 60
    call("StopStream", channelArn=channel)
    assert session(call, channel)["endTime"] == "2027-01-15T08:01:00Z"
    assert names(session(call, channel)) == ["Session Ended", "Stream End", "Stream Start", "Session Created"]
    assert call("ListStreamSessions", channelArn=channel)["streamSessions"][0]["endTime"] == "2027-01-15T08:01:00Z"


def test_a_session_shows_the_channel_as_it_was_without_secrets(call: CallIvs, source: Simulator, channel: str) -> None:
    source.start(channel)
    source.stop(channel)
    before = call("GetChannel", arn=channel)["channel"]
    call("UpdateChannel", arn=channel, name="later")
    assert session(call, channel)["channel"] == {k: v for k, v in before.items() if k not in ("tags", "srt")}


def test_ingest_configurations_are_shown_in_both_forms(call: CallIvs, source: Simulator, channel: str) -> None:
    """API reference, VideoConfiguration: only the deprecated form has avcProfile and avcLevel."""
    source.start(channel)
    found = session(call, channel)
    video, audio = DEFAULT_INGEST["videoConfigurations"][0], DEFAULT_INGEST["audioConfigurations"][0]
    older = {"avcProfile": video["profile"], "avcLevel": video["level"]}
    assert found["ingestConfigurations"] == DEFAULT_INGEST
    assert found["ingestConfiguration"] == {"video": {**video, **older}, "audio": audio}
    source.set_ingest(channel, {"videoConfigurations": [{"track": "v", "avcLevel": "4"}], "audioConfigurations": []})
    found = session(call, channel)
    assert found["ingestConfigurations"] == {"videoConfigurations": [{"track": "v"}], "audioConfigurations": []}
    assert found["ingestConfiguration"] == {"video": {"track": "v", "avcLevel": "4"}}


@pytest.mark.parametrize(
    ("channel_type", "video", "limit"),
    [
        ("STANDARD", {"targetBitrate": 8_500_000, "videoWidth": 1920, "videoHeight": 1080}, None),
        ("STANDARD", {"targetBitrate": 8_500_001}, "Ingest Bitrate"),
        ("BASIC", {"targetBitrate": 1_500_000, "videoHeight": 480}, None),
        ("BASIC", {"targetBitrate": 1_500_001, "videoHeight": 480}, "Ingest Bitrate"),
        ("BASIC", {"targetBitrate": 3_500_000, "videoHeight": 720}, None),
        ("BASIC", {"targetBitrate": 3_500_001, "videoHeight": 720}, "Ingest Bitrate"),
        ("ADVANCED_SD", {"targetBitrate": 9_000_000}, "Ingest Bitrate"),
        ("STANDARD", {"videoWidth": 1921, "videoHeight": 1}, "Ingest Resolution"),
        ("STANDARD", {"videoWidth": 1900, "videoHeight": 1900}, "Ingest Resolution"),
    ],
    ids=stable_repr,
)
def test_a_limit_breach_is_an_error_event(
    call: CallIvs, source: Simulator, channel_type: str, video: dict[str, Any], limit: str | None
) -> None:
    """IVS user guide, "Service Quotas": ingest bitrate and resolution by channel type."""
    channel = call("CreateChannel", type=channel_type)["channel"]["arn"]
    source.start(channel, {"videoConfigurations": [video], "audioConfigurations": []})
    assert [name for name in names(session(call, channel)) if name.startswith("Ingest")] == ([limit] if limit else [])
    (listed,) = call("ListStreamSessions", channelArn=channel)["streamSessions"]
    assert listed["hasErrorEvent"] == (limit is not None)


@pytest.mark.parametrize(
    ("resolution", "video", "limit"),
    [
        ("HD", {"videoWidth": 1280, "videoHeight": 700, "targetBitrate": 15_000_000}, None),
        ("HD", {"videoWidth": 1281, "videoHeight": 700}, "Ingest Resolution"),
        ("SD", {"videoWidth": 864, "videoHeight": 481}, "Ingest Resolution"),
        ("SD", {"videoWidth": 864, "videoHeight": 480}, None),
        ("FULL_HD", {"targetBitrate": 15_000_001}, "Ingest Bitrate"),
    ],
    ids=stable_repr,
)
def test_multitrack_input_has_its_own_limits(
    call: CallIvs, source: Simulator, resolution: str, video: dict[str, Any], limit: str | None
) -> None:
    multitrack = {"enabled": True, "policy": "ALLOW", "maximumResolution": resolution}
    created = call("CreateChannel", containerFormat="FRAGMENTED_MP4", multitrackInputConfiguration=multitrack)
    channel = created["channel"]["arn"]
    source.start(channel)
    source.set_ingest(channel, {"videoConfigurations": [video], "audioConfigurations": []})
    found = {event["name"] for event in session(call, channel)["truncatedEvents"][:-2]}
    assert found - {"Stream Start"} == ({limit} if limit else set())


def test_sessions_are_listed_newest_first_in_pages(
    call: CallIvs, source: Simulator, channel: str, clock: FrozenClock
) -> None:
    created = []
    for _ in range(5):
        created.append(source.start(channel))
        clock.at += 10
        source.stop(channel)
    found, token = [], ""
    while True:
        page = call("ListStreamSessions", channelArn=channel, maxResults=2, nextToken=token)
        assert len(page["streamSessions"]) <= 2
        found += [entry["streamId"] for entry in page["streamSessions"]]
        if "nextToken" not in page:
            break
        token = page["nextToken"]
    assert found == created[::-1]
    assert session(call, channel)["streamId"] == created[-1]
    assert session(call, channel, streamId=created[1])["streamId"] == created[1]


def test_a_channel_without_streams_has_no_sessions(call: CallIvs, channel: str) -> None:
    assert call("ListStreamSessions", channelArn=channel) == {"streamSessions": []}
    for request in ({}, {"streamId": f"st-{'x' * 23}"}):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call("GetStreamSession", channelArn=channel, **request)
    for operation in ("GetStreamSession", "ListStreamSessions"):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call(operation, channelArn=f"{channel}x")


@pytest.mark.parametrize("stream_id", ["mystream", "st-", f"st-{'x' * 24}", f"xx-{'x' * 23}"])
def test_a_malformed_stream_id_is_rejected(call: CallIvs, channel: str, stream_id: str) -> None:
    with pytest.raises(IvsError, match=r"ValidationException.*'streamId'"):
        call("GetStreamSession", channelArn=channel, streamId=stream_id)


def test_sessions_survive_their_channel_and_expire_after_sixty_days(
    call: CallIvs, source: Simulator, channel: str, clock: FrozenClock, resources: SqliteResourceStore
) -> None:
    """IVS user guide, troubleshooting FAQ."""
    assert RETENTION_SECONDS == 60 * DAY
    stream_id = source.start(channel)
    clock.at += DAY
    source.stop(channel)
    call("DeleteChannel", arn=channel)
    clock.at += 60 * DAY - 1
    assert session(call, channel, streamId=stream_id)["streamId"] == session(call, channel)["streamId"] == stream_id
    assert len(call("ListStreamSessions", channelArn=channel)["streamSessions"]) == 1
    clock.at += 1
    for operation in ("GetStreamSession", "ListStreamSessions"):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call(operation, channelArn=channel)
    other = call("CreateChannel")["channel"]["arn"]
    source.start(other)
    with resources.begin(write=False) as transaction:
        assert transaction.get(f"{channel}/stream-session/{stream_id}") is None


def test_a_live_session_never_expires(call: CallIvs, source: Simulator, channel: str, clock: FrozenClock) -> None:
    source.start(channel)
    clock.at += 100 * DAY
    source.start(call("CreateChannel")["channel"]["arn"])
    assert "endTime" not in session(call, channel)
    source.stop(channel)
    assert names(session(call, channel))[0] == "Session Ended"


@pytest.mark.slow
def test_a_session_keeps_the_newest_five_hundred_events(call: CallIvs, source: Simulator, channel: str) -> None:
    """API reference, StreamSession: "sorted by most recent events and contains up to 500 events"."""
    source.start(channel)
    for _ in range(MAX_EVENTS // 2 + 5):
        source.set_health(channel, "STARVING")
        source.set_health(channel, "HEALTHY")
    found = names(session(call, channel))
    assert len(found) == MAX_EVENTS == 500
    assert found[:2] == ["Starvation End", "Starvation Start"]
    assert "Stream Start" not in found


def test_a_session_shows_the_configurations_of_its_channel_at_the_start(
    call: CallIvs, source: Simulator, clock: FrozenClock
) -> None:
    recording = call("CreateRecordingConfiguration", destinationConfiguration={"s3": {"bucketName": "bucket"}})
    slate = call("CreateFailoverSlateConfiguration", name="slate")
    clock.at += 60
    arns = {
        "recordingConfigurationArn": recording["recordingConfiguration"]["arn"],
        "failoverSlateConfigurationArn": slate["failoverSlateConfiguration"]["arn"],
    }
    channel = call("CreateChannel", **arns)["channel"]["arn"]
    source.start(channel)
    source.stop(channel)
    call("DeleteChannel", arn=channel)
    call("DeleteRecordingConfiguration", arn=arns["recordingConfigurationArn"])
    found = session(call, channel)
    assert found["recordingConfiguration"] == {**recording["recordingConfiguration"], "state": "ACTIVE"}
    assert found["failoverSlateConfiguration"]["arn"] == arns["failoverSlateConfigurationArn"]
    assert names(found) == [
        *("Session Ended", "Stream End", "Recording End", "Recording Start", "Stream Start", "Session Created")
    ]
