"""InsertAdBreak: inserts an ad break into a live stream.

Invariants
- Source: API reference, InsertAdBreak; IVS user guide, "Server-Side Ad Insertion".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tokensvc.local_ivs.edge.window import AdBreak
from tokensvc.local_ivs.errors import conflict, invalid_member
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, ID_CHARS
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.streams import events, lifecycle
from tokensvc.local_ivs.streams.operations import require_stream
from tokensvc.local_ivs.transaction import Body, Handler, OperationCall
from tokensvc.timestamps import rfc3339


def insert_ad_break(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """The channel is live and has an ad configuration. Overlapping ad breaks are a ConflictException.

    INFERRED: An ad break for a channel without an ad configuration is a ValidationException; the operation lists no
    better error.

    INFERRED: An ad break without a target time, or with one that has passed, starts now.

    INFERRED: An ad break id can be used once per stream.
    """
    channel = call.require(request["channelArn"], "channel")
    stream = require_stream(call, channel.arn)
    if not channel.body["adConfigurationArn"]:
        raise invalid_member("channelArn", "Member must be a channel that has an ad configuration")
    target = request.get("targetStartAt", datetime.fromtimestamp(call.now, UTC))
    start = int(max(call.now, target.timestamp()))
    duration = request["durationSeconds"]
    ad_break_id = request.get("adBreakId") or call.random_string(ALPHANUMERIC, ID_CHARS)
    ad_break = AdBreak(ad_break_id, start, duration)
    for other in stream.body["adBreaks"]:
        if other["id"] == ad_break_id:
            raise conflict("The ad break id has already been used in this stream")
        if ad_break.overlaps(AdBreak(other["id"], other["start"], other["duration"])):
            raise conflict("The ad break overlaps another ad break of this stream")
    inserted = {"id": ad_break_id, "start": start, "duration": duration}
    updated = lifecycle.update(call.context, stream, adBreaks=[*stream.body["adBreaks"], inserted])
    lifecycle.emit_event(
        call.context,
        updated,
        events.AD_BREAK_STATE,
        "Ad Break Inserted",
        ad_break_id=ad_break_id,
        duration_seconds=duration,
        target_start_time=rfc3339(start),
    )
    return {"adBreakId": ad_break_id, "targetStartAt": start}


HANDLERS: Mapping[str, Handler] = {
    "InsertAdBreak": Handler(insert_ad_break, writes=True, rate_limits=(RateLimit(1),)),
}
