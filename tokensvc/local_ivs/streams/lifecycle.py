"""A stream's life: from the moment a channel goes live until it ends. Each step is written, remembered and told.

Rules of the file
- Whoever brings the stream (`local_ivs/stream_store.py`) and StopStream both end up here, inside their own transaction.
- Order of events: IVS user guide, EventBridge page: Session Created, Stream Start, Recording Start; at the end
  Recording End, Stream End, Session Ended (the last two come in either order there).
- Quota: 100 concurrent streams in an account and region; one more is refused and told as a limit breach ("Service
  Quotas"). `exceeded_by` is documented as the value less the limit.
- Starvation sets the health STARVING, and both its ends are told (user guide, "Monitoring Stream Health").
"""

from __future__ import annotations

from typing import Any

from tokensvc.local_ivs.errors import conflict
from tokensvc.local_ivs.id_generators import ALPHANUMERIC
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.streams import events, sessions
from tokensvc.local_ivs.streams.ingest import Ingest, limit_breaches
from tokensvc.local_ivs.streams.live_streams import STREAM, stream_name, stream_of
from tokensvc.local_ivs.streams.recordings import detail_of, recording_of
from tokensvc.local_ivs.transaction import TxContext

CONCURRENT_STREAMS = 100
STREAM_ID_CHARS = 23
HEALTHY, STARVING, UNKNOWN = "HEALTHY", "STARVING", "UNKNOWN"
"""StreamHealth, as the model has it."""


def start(moment: TxContext, channel: Resource, ingest: Ingest) -> Resource | None:
    """Go live; None when too many streams are live, which is told. Raises IvsError on a channel that is live."""
    if stream_of(moment.transaction, channel.arn):
        raise conflict(f"Channel: {channel.arn} is live already")
    streaming = moment.transaction.count(channel.account_region, STREAM)
    if streaming >= CONCURRENT_STREAMS:
        breach = {"limit_name": "Concurrent Broadcasts", "limit_value": CONCURRENT_STREAMS}
        breach |= {"exceeded_by": streaming + 1 - CONCURRENT_STREAMS, "limit_unit": "active streams"}
        events.append(moment, channel.account_region, events.LIMIT_BREACH, "", breach)
        return None
    stream_id = f"st-{moment.token(ALPHANUMERIC, STREAM_ID_CHARS)}"
    recording = recording_of(moment, channel)
    body = {
        "streamId": stream_id,
        "channelName": channel.body["name"],
        "startTime": int(moment.now),
        "health": HEALTHY,
        "viewers": 0,
        "adBreaks": [],
        "recording": recording,
    }
    stream = Resource(stream_name(channel.arn), channel.account_region, STREAM, channel.arn, "", body, moment.now)
    moment.transaction.put(stream)
    sessions.open_session(moment, channel, stream_id, ingest)
    emit_event(moment, stream, events.STREAM_STATE, "Session Created")
    emit_event(moment, stream, events.STREAM_STATE, "Stream Start")
    if recording:
        _tell_recording(moment, stream, "Recording Start Failure" if recording["fails"] else "Recording Start")
    _tell_breaches(moment, stream, channel, ingest)
    return stream


def stop(moment: TxContext, stream: Resource) -> None:
    """End it."""
    recording = stream.body["recording"]
    if recording and not recording["fails"]:
        _tell_recording(moment, stream, "Recording End")
    emit_event(moment, stream, events.STREAM_STATE, "Stream End")
    emit_event(moment, stream, events.STREAM_STATE, "Session Ended")
    sessions.close_session(moment, stream)
    moment.transaction.delete(stream.arn)


def set_health(moment: TxContext, stream: Resource, health: str) -> None:
    """Change its health; staying as it is tells nothing."""
    before = stream.body["health"]
    update(moment, stream, health=health)
    if health == STARVING != before:
        emit_event(moment, stream, events.STREAM_HEALTH, "Starvation Start")
    if before == STARVING != health:
        emit_event(moment, stream, events.STREAM_HEALTH, "Starvation End")


def set_ingest(moment: TxContext, stream: Resource, ingest: Ingest) -> None:
    """The encoder sends something else."""
    sessions.record_ingest(moment, stream, ingest)
    channel = moment.transaction.get(stream.parent_arn)
    if channel is not None:
        _tell_breaches(moment, stream, channel, ingest)


def update(moment: TxContext, stream: Resource, **members: Any) -> Resource:
    """Write down other members of a live stream."""
    changed = stream._replace(body={**stream.body, **members})
    moment.transaction.put(changed)
    return changed


def emit_event(moment: TxContext, stream: Resource, detail_type: str, name: str, **more: Any) -> None:
    """Tell of it in the log, and remember it with the session."""
    detail = {"event_name": name, **_who(stream), **more}
    events.append(moment, stream.account_region, detail_type, stream.parent_arn, detail)
    sessions.record_event(moment, stream, detail_type, name)


def _tell_recording(moment: TxContext, stream: Resource, status: str) -> None:
    detail = detail_of(stream.body["recording"], status, stream.body["streamId"], moment.now)
    events.append(moment, stream.account_region, events.RECORDING_STATE, stream.parent_arn, {**_who(stream), **detail})
    sessions.record_event(moment, stream, events.RECORDING_STATE, status, is_error=status.endswith("Failure"))


def _tell_breaches(moment: TxContext, stream: Resource, channel: Resource, ingest: Ingest) -> None:
    """Limit breaches have no event name; INFERRED: a session calls them by their limit's."""
    for breach in limit_breaches(channel.body, ingest):
        detail = {**breach._asdict(), **_who(stream)}
        events.append(moment, stream.account_region, events.LIMIT_BREACH, stream.parent_arn, detail)
        sessions.record_event(moment, stream, events.LIMIT_BREACH, breach.limit_name, is_error=True)


def _who(stream: Resource) -> dict[str, str]:
    return {"channel_name": stream.body["channelName"], "stream_id": stream.body["streamId"]}
