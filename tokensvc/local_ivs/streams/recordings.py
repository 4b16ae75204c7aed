"""Recordings, as far as their events tell of them: nothing is recorded here.

Sources: IVS user guide, "Auto-Record to Amazon S3" (the form of the prefix, ids) and the EventBridge page.
INFERRED
- A configuration that is still being made cannot record: Recording Start Failure.
- The end is told when the stream ends, not after the reconnect window; each stream is a recording of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, ID_CHARS
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.recording_configurations import CREATING_SECONDS
from tokensvc.local_ivs.transaction import TxContext

SESSION_ID_CHARS = 16
NOT_ACTIVE = "The recording configuration is not active"


def recording_of(moment: TxContext, channel: Resource) -> dict[str, Any] | None:
    """The recording that a channel's stream begins with; None where the channel is not recorded."""
    arn = channel.body["recordingConfigurationArn"]
    configuration = moment.transaction.get(arn) if arn else None
    if configuration is None:
        return None
    at = datetime.fromtimestamp(moment.now, UTC)
    name = parse_arn(channel.arn)
    when = f"{at.year}/{at.month}/{at.day}/{at.hour}/{at.minute}"
    return {
        "bucket": configuration.body["destinationConfiguration"]["s3"]["bucketName"],
        "prefix": f"ivs/v1/{name.account_region.account}/{name.id}/{when}/{moment.token(ALPHANUMERIC, ID_CHARS)}",
        "sessionId": moment.token(ALPHANUMERIC, SESSION_ID_CHARS),
        "startedAt": moment.now,
        "fails": moment.now < configuration.created_at + CREATING_SECONDS,
    }


def detail_of(recording: Mapping[str, Any], status: str, stream_id: str, now: float) -> dict[str, Any]:
    """What an event tells of it."""
    detail: dict[str, Any] = {
        "recording_status": status,
        "recording_status_reason": NOT_ACTIVE if recording["fails"] else "",
        "recording_s3_bucket_name": recording["bucket"],
        "recording_s3_key_prefix": recording["prefix"],
        "recording_duration_ms": round((now - recording["startedAt"]) * 1000),
        "recording_session_id": recording["sessionId"],
    }
    if status == "Recording End":
        detail["recording_session_stream_ids"] = [stream_id]
    return detail
