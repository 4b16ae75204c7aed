"""Recordings, as far as events report them: nothing is recorded here.

Invariants
- Sources: IVS user guide, "Auto-Record to Amazon S3" (the form of the prefix, ids) and the EventBridge page.
- INFERRED: A recording configuration in state CREATING cannot record: the event is Recording Start Failure.
- INFERRED: Recording End is emitted when the stream ends, not after the reconnect window, and each stream is its own
  recording.
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


def new_recording(context: TxContext, channel: Resource) -> dict[str, Any] | None:
    """The recording that starts with a stream; None if the channel has no recording configuration."""
    arn = channel.body["recordingConfigurationArn"]
    configuration = context.transaction.get(arn) if arn else None
    if configuration is None:
        return None
    at = datetime.fromtimestamp(context.now, UTC)
    channel_arn = parse_arn(channel.arn)
    account, minute = channel_arn.account_region.account, f"{at.year}/{at.month}/{at.day}/{at.hour}/{at.minute}"
    return {
        "bucket": configuration.body["destinationConfiguration"]["s3"]["bucketName"],
        "prefix": f"ivs/v1/{account}/{channel_arn.id}/{minute}/{context.random_string(ALPHANUMERIC, ID_CHARS)}",
        "sessionId": context.random_string(ALPHANUMERIC, SESSION_ID_CHARS),
        "startedAt": context.now,
        "fails": context.now < configuration.created_at + CREATING_SECONDS,
    }


def event_detail(recording: Mapping[str, Any], status: str, stream_id: str, now: float) -> dict[str, Any]:
    """The members that a recording adds to an event's detail."""
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
