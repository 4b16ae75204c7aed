"""The lifecycle of a stream, from going live to its end. Each change is stored, recorded in the session and emitted.

Invariants
- Stream sources (`local_ivs/live_streams.py`) and StopStream both use these functions, in their own transaction.
- Order of events: IVS user guide, EventBridge page: Session Created, Stream Start, Recording Start; at the end
  Recording End, Stream End, Session Ended (the last two come in either order there).
- Quota: 100 concurrent streams per account and region; one more is rejected and emitted as a limit breach ("Service
  Quotas"). `exceeded_by` is documented as the value minus the limit.
- A change of a playback restriction policy does not affect a stream that is live (AWS CLI, update-playback-restriction-
  policy): a stream has the policy of its start.
- Starvation sets the health STARVING; its start and end are emitted (user guide, "Monitoring Stream Health").
"""

from __future__ import annotations

from typing import Any

from tokensvc.local_ivs.errors import conflict
from tokensvc.local_ivs.id_generators import ALPHANUMERIC
from tokensvc.local_ivs.live_streams import STREAM, stream_document_key, stream_of
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.streams import events, sessions, timed_metadata
from tokensvc.local_ivs.streams.ingest import Ingest, limit_breaches
from tokensvc.local_ivs.streams.recordings import event_detail, new_recording
from tokensvc.local_ivs.transaction import TxContext

MAX_CONCURRENT_STREAMS = 100
STREAM_ID_CHARS = 23
HEALTHY, STARVING, UNKNOWN = "HEALTHY", "STARVING", "UNKNOWN"
"""StreamHealth in the service model."""


def start(context: TxContext, channel: Resource, ingest: Ingest) -> Resource | None:
    """Go live. Returns None if too many streams are live, and emits that. Raises IvsError if the channel is live."""
    if stream_of(context.transaction, channel.arn):
        raise conflict(f"Channel: {channel.arn} is already live")
    live_count = context.transaction.count(channel.account_region, STREAM)
    if live_count >= MAX_CONCURRENT_STREAMS:
        breach = {"limit_name": "Concurrent Broadcasts", "limit_value": MAX_CONCURRENT_STREAMS}
        breach |= {"exceeded_by": live_count + 1 - MAX_CONCURRENT_STREAMS, "limit_unit": "active streams"}
        events.append(context, channel.account_region, events.LIMIT_BREACH, "", breach)
        return None
    stream_id = f"st-{context.random_string(ALPHANUMERIC, STREAM_ID_CHARS)}"
    recording = new_recording(context, channel)
    policy = context.transaction.get(channel.body["playbackRestrictionPolicyArn"])
    body = {
        "streamId": stream_id,
        "channelName": channel.body["name"],
        "startTime": int(context.now),
        "health": HEALTHY,
        "viewers": 0,
        "adBreaks": [],
        "recording": recording,
        "playbackRestrictionPolicy": policy and policy.body,
    }
    key = stream_document_key(channel.arn)
    stream = Resource(key, channel.account_region, STREAM, channel.arn, "", body, context.now)
    context.transaction.put(stream)
    sessions.open_session(context, channel, stream_id, ingest)
    emit_event(context, stream, events.STREAM_STATE, "Session Created")
    emit_event(context, stream, events.STREAM_STATE, "Stream Start")
    if recording:
        _emit_recording_event(context, stream, "Recording Start Failure" if recording["fails"] else "Recording Start")
    _emit_limit_breaches(context, stream, channel, ingest)
    return stream


def stop(context: TxContext, stream: Resource) -> None:
    """End the stream, and with it the sessions of its players and its metadata."""
    recording = stream.body["recording"]
    if recording and not recording["fails"]:
        _emit_recording_event(context, stream, "Recording End")
    emit_event(context, stream, events.STREAM_STATE, "Stream End")
    emit_event(context, stream, events.STREAM_STATE, "Session Ended")
    sessions.close_session(context, stream)
    context.transaction.sessions.end_all_of(stream.body["streamId"])
    timed_metadata.delete_all_of(context, stream)
    context.transaction.delete(stream.arn)


def set_health(context: TxContext, stream: Resource, health: str) -> None:
    """Set the stream's health. Emits the start or end of starvation."""
    before = stream.body["health"]
    update(context, stream, health=health)
    if health == STARVING != before:
        emit_event(context, stream, events.STREAM_HEALTH, "Starvation Start")
    if before == STARVING != health:
        emit_event(context, stream, events.STREAM_HEALTH, "Starvation End")


def set_ingest(context: TxContext, stream: Resource, ingest: Ingest) -> None:
    """The encoder changes what it sends."""
    sessions.record_ingest(context, stream, ingest)
    channel = context.transaction.get(stream.parent_arn)
    if channel is not None:
        _emit_limit_breaches(context, stream, channel, ingest)


def update(context: TxContext, stream: Resource, **members: Any) -> Resource:
    """Store new values of members of a live stream."""
    updated = stream._replace(body={**stream.body, **members})
    context.transaction.put(updated)
    return updated


def emit_event(context: TxContext, stream: Resource, detail_type: str, name: str, **detail: Any) -> None:
    """Append an event to the log, and record it in the stream's session."""
    detail = {"event_name": name, **_stream_detail(stream), **detail}
    events.append(context, stream.account_region, detail_type, stream.parent_arn, detail)
    sessions.record_event(context, stream, detail_type, name)


def _emit_recording_event(context: TxContext, stream: Resource, status: str) -> None:
    detail = event_detail(stream.body["recording"], status, stream.body["streamId"], context.now)
    detail = {**_stream_detail(stream), **detail}
    events.append(context, stream.account_region, events.RECORDING_STATE, stream.parent_arn, detail)
    sessions.record_event(context, stream, events.RECORDING_STATE, status, is_error=status.endswith("Failure"))


def _emit_limit_breaches(context: TxContext, stream: Resource, channel: Resource, ingest: Ingest) -> None:
    """Limit breaches have no event name.

    INFERRED: In a stream session, a limit breach is named after its limit.
    """
    for breach in limit_breaches(channel.body, ingest):
        detail = {**breach._asdict(), **_stream_detail(stream)}
        events.append(context, stream.account_region, events.LIMIT_BREACH, stream.parent_arn, detail)
        sessions.record_event(context, stream, events.LIMIT_BREACH, breach.limit_name, is_error=True)


def _stream_detail(stream: Resource) -> dict[str, str]:
    """The members that every event of a stream has."""
    return {"channel_name": stream.body["channelName"], "stream_id": stream.body["streamId"]}
