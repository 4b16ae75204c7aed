"""Every change of a stream emits an event in EventBridge's form, in a bounded log."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, FrozenClock, counting_strings
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams import events
from tokensvc.local_ivs.streams.lifecycle import MAX_CONCURRENT_STREAMS
from tokensvc.local_ivs.transaction import TxContext

METADATA = "a secret of the show"


def logged_events(resources: SqliteResourceStore, after: int = 0) -> list[dict[str, Any]]:
    with resources.begin(write=False) as transaction:
        return [dict(numbered.event) for numbered in events.events_after(transaction, after, 10_000)]


def test_a_stream_emits_events_from_start_to_end(
    call: CallIvs, source: Simulator, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    """IVS user guide, EventBridge: names, order and members of IVS Stream State Change and Stream Health Change."""
    created = call("CreateChannel", name="show")
    arn = created["channel"]["arn"]
    stream_id = source.start(arn)
    clock.at += 5
    for health in ("STARVING", "STARVING", "HEALTHY", "HEALTHY", "UNKNOWN", "STARVING", "UNKNOWN"):
        source.set_health(arn, health)
    call("PutMetadata", channelArn=arn, metadata=METADATA)
    source.stop(arn)
    found = logged_events(resources)
    assert [(event["detail-type"], event["detail"]["event_name"]) for event in found] == [
        ("IVS Stream State Change", "Session Created"),
        ("IVS Stream State Change", "Stream Start"),
        ("IVS Stream Health Change", "Starvation Start"),
        ("IVS Stream Health Change", "Starvation End"),
        ("IVS Stream Health Change", "Starvation Start"),
        ("IVS Stream Health Change", "Starvation End"),
        ("IVS Stream State Change", "Stream End"),
        ("IVS Stream State Change", "Session Ended"),
    ]
    first = found[0]
    assert uuid.UUID(first.pop("id")).version == 4
    assert first == {
        "version": "0",
        "detail-type": "IVS Stream State Change",
        "source": "aws.ivs",
        "account": "000000000000",
        "time": "2027-01-15T08:00:00Z",
        "region": "us-west-2",
        "resources": [arn],
        "detail": {"event_name": "Session Created", "channel_name": "show", "stream_id": stream_id},
    }
    assert found[-1]["time"] == "2027-01-15T08:00:05Z"
    assert len({event.get("id") for event in found}) == len(found)
    assert METADATA not in str(found)
    assert created["streamKey"]["value"] not in str(found)


def test_a_recording_emits_events(
    call: CallIvs, source: Simulator, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    """IVS user guide, EventBridge and "Auto-Record to Amazon S3"."""
    created = call("CreateRecordingConfiguration", destinationConfiguration={"s3": {"bucketName": "my-bucket"}})
    arn = call("CreateChannel", recordingConfigurationArn=created["recordingConfiguration"]["arn"])["channel"]["arn"]
    clock.at += 600
    stream_id = source.start(arn)
    clock.at += 90.5
    source.stop(arn)
    start, end = (e["detail"] for e in logged_events(resources) if e["detail-type"] == "IVS Recording State Change")
    prefix, _, recording_id = start["recording_s3_key_prefix"].rpartition("/")
    assert prefix == f"ivs/v1/000000000000/{arn.rpartition('/')[2]}/2027/1/15/8/10"
    assert len(recording_id) == 12
    assert len(start["recording_session_id"]) == 16
    assert "event_name" not in start
    assert start == {
        "channel_name": "",
        "stream_id": stream_id,
        "recording_status": "Recording Start",
        "recording_status_reason": "",
        "recording_s3_bucket_name": "my-bucket",
        "recording_s3_key_prefix": start["recording_s3_key_prefix"],
        "recording_duration_ms": 0,
        "recording_session_id": start["recording_session_id"],
    }
    assert end == {
        **start,
        "recording_status": "Recording End",
        "recording_duration_ms": 90_500,
        "recording_session_stream_ids": [stream_id],
    }


def test_a_recording_configuration_in_state_creating_cannot_record(
    call: CallIvs, source: Simulator, resources: SqliteResourceStore
) -> None:
    created = call("CreateRecordingConfiguration", destinationConfiguration={"s3": {"bucketName": "my-bucket"}})
    arn = call("CreateChannel", recordingConfigurationArn=created["recordingConfiguration"]["arn"])["channel"]["arn"]
    source.start(arn)
    assert call("ListStreamSessions", channelArn=arn)["streamSessions"][0]["hasErrorEvent"]
    source.stop(arn)
    (only,) = (e["detail"] for e in logged_events(resources) if e["detail-type"] == "IVS Recording State Change")
    assert only["recording_status"] == "Recording Start Failure"
    assert only["recording_status_reason"]


def test_a_breach_of_an_ingest_limit_emits_an_event(
    call: CallIvs, source: Simulator, resources: SqliteResourceStore
) -> None:
    arn = call("CreateChannel", name="show", type="BASIC")["channel"]["arn"]
    video = {"targetBitrate": 4_000_000, "videoHeight": 720, "videoWidth": 1280}
    stream_id = source.start(arn, {"videoConfigurations": [video], "audioConfigurations": []})
    (breach,) = (event for event in logged_events(resources) if event["detail-type"] == "IVS Limit Breach")
    assert breach["resources"] == [arn]
    assert breach["detail"] == {
        "limit_name": "Ingest Bitrate",
        "limit_value": 3_500_000,
        "exceeded_by": 500_000,
        "limit_unit": "bits per second",
        "channel_name": "show",
        "stream_id": stream_id,
    }


def test_too_many_streams_emit_an_event_without_channel(
    call: CallIvs, source: Simulator, resources: SqliteResourceStore
) -> None:
    for _ in range(MAX_CONCURRENT_STREAMS):
        source.start(call("CreateChannel")["channel"]["arn"])
    one_more = call("CreateChannel")["channel"]["arn"]
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        source.start(one_more)
    breach = logged_events(resources)[-1]
    assert breach["resources"] == []
    assert breach["detail"] == {
        "limit_name": "Concurrent Broadcasts",
        "limit_value": 100,
        "exceeded_by": 1,
        "limit_unit": "active streams",
    }


def test_an_ad_break_emits_an_event(call: CallIvs, source: Simulator, resources: SqliteResourceStore) -> None:
    mediatailor = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/show"
    configurations = [{"playbackConfigurationArn": mediatailor}]
    created = call("CreateAdConfiguration", mediaTailorPlaybackConfigurations=configurations)
    arn = call("CreateChannel", name="show", adConfigurationArn=created["adConfiguration"]["arn"])["channel"]["arn"]
    stream_id = source.start(arn)
    call("InsertAdBreak", channelArn=arn, durationSeconds=30, adBreakId="hSi2o1WIVgij")
    assert logged_events(resources)[-1]["detail-type"] == "IVS Ad Break State Change"
    assert logged_events(resources)[-1]["detail"] == {
        "event_name": "Ad Break Inserted",
        "channel_name": "show",
        "stream_id": stream_id,
        "ad_break_id": "hSi2o1WIVgij",
        "duration_seconds": 30,
        "target_start_time": "2027-01-15T08:00:00Z",
    }


def test_the_log_keeps_the_newest_events_and_their_numbers(resources: SqliteResourceStore) -> None:
    token = counting_strings()
    for number in range(50):
        with resources.begin(write=True) as transaction:
            events.append(TxContext(transaction, 0, token), HERE, "test", "", {"number": number}, max_events=20)
    with resources.begin(write=False) as transaction:
        stored = events.events_after(transaction, 0, 100)
        assert [numbered.event["detail"]["number"] for numbered in stored] == list(range(30, 50))
        assert events.newest_number(transaction) == stored[-1].number
        assert events.events_after(transaction, stored[-3].number, 1) == [stored[-2]]
        assert events.events_after(transaction, stored[-1].number, 10) == []


def test_a_rolled_back_change_emits_no_event(call: CallIvs, source: Simulator, resources: SqliteResourceStore) -> None:
    arn = call("CreateChannel")["channel"]["arn"]
    source.start(arn)
    before = logged_events(resources)
    with pytest.raises(IvsError):
        source.start(arn)
    assert logged_events(resources) == before
