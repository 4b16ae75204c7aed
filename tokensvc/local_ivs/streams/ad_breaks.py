"""InsertAdBreak: a break for ads in a live stream.

Rules of the file
- Source: API reference, InsertAdBreak; IVS user guide, "Server-Side Ad Insertion". It wants an ad configuration on the
  channel and a live stream; breaks that overlap are a conflict.
- INFERRED: a channel without an ad configuration is a validation error (the operation lists no better one); a break
  without a target, or with one that has passed, starts now; a break's id is used once in a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tokensvc.local_ivs.errors import conflict, invalid_member
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, ID_CHARS
from tokensvc.local_ivs.streams import events, lifecycle
from tokensvc.local_ivs.streams.operations import live_stream
from tokensvc.local_ivs.transaction import Body, OperationCall, Handler
from tokensvc.timestamps import rfc3339


def insert_ad_break(call: OperationCall, request: Mapping[str, Any]) -> Body:
    channel = call.existing(request["channelArn"], "channel")
    stream = live_stream(call, channel.arn)
    if not channel.body["adConfigurationArn"]:
        raise invalid_member("channelArn", "Member must be a channel that has an ad configuration")
    target = request.get("targetStartAt", datetime.fromtimestamp(call.now, UTC))
    start = int(max(call.now, target.timestamp()))
    duration = request["durationSeconds"]
    ad_break_id = request.get("adBreakId") or call.token(ALPHANUMERIC, ID_CHARS)
    for known in stream.body["adBreaks"]:
        if known["id"] == ad_break_id:
            raise conflict("The id of the ad break was used in this stream already")
        if known["start"] < start + duration and start < known["start"] + known["duration"]:
            raise conflict("The ad break overlaps another one of this stream")
    inserted = {"id": ad_break_id, "start": start, "duration": duration}
    changed = lifecycle.update(call.moment, stream, adBreaks=[*stream.body["adBreaks"], inserted])
    lifecycle.emit_event(
        call.moment,
        changed,
        events.AD_BREAK_STATE,
        "Ad Break Inserted",
        ad_break_id=ad_break_id,
        duration_seconds=duration,
        target_start_time=rfc3339(start),
    )
    return {"adBreakId": ad_break_id, "targetStartAt": start}


HANDLERS: Mapping[str, Handler] = {"InsertAdBreak": Handler(insert_ad_break, writes=True)}
