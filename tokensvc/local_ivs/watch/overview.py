"""What the watch page shows beside the picture: channels, the stream, the key pairs, the time.

Invariants
- It reads what is stored, in one transaction, and changes nothing. No call of IVS is made, so that a page that is open
  uses up none of IVS's rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.local_ivs.live_streams import STREAM, stream_of, viewer_count
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.timestamps import rfc3339

MAX_CHANNELS = 200
"""More than a picker shows well."""


def channels(
    transaction: ResourceTransaction, account_regions: Sequence[AccountRegion], now: float
) -> list[dict[str, Any]]:
    """The channels of these accounts and regions, at most MAX_CHANNELS: those on air first, then private ones, then by
    name."""
    found = [channel for account_region in account_regions for channel in transaction.find(account_region, "channel")]
    live = {
        stream.parent_arn for account_region in account_regions for stream in transaction.find(account_region, STREAM)
    }
    found.sort(key=lambda it: (it.arn not in live, not it.body["authorized"], it.body["name"], it.arn))
    return [_channel(transaction, channel, now) for channel in found[:MAX_CHANNELS]]


def key_pairs(transaction: ResourceTransaction, account_region: AccountRegion) -> list[dict[str, Any]]:
    """The playback key pairs that are imported there, oldest first."""
    return [
        {"name": pair.body["name"], "fingerprint": pair.body["fingerprint"]}
        for pair in transaction.find(account_region, "playback-key")
    ]


def session(transaction: ResourceTransaction, session_id: str, now: float) -> dict[str, Any] | None:
    """What the edge has stored of a playback session; None if there is no such session."""
    found = transaction.sessions.get(session_id)
    if found is None:
        return None
    return {
        "isActive": found.is_active(now),
        "startedAt": rfc3339(int(found.started_at)),
        "maximumResolution": found.terms.maximum_resolution,
        "strictOrigin": found.terms.strict_origin,
    }


def _channel(transaction: ResourceTransaction, channel: Resource, now: float) -> dict[str, Any]:
    arn, stream = parse_arn(channel.arn), stream_of(transaction, channel.arn)
    return {
        "arn": channel.arn,
        "name": channel.body["name"],
        "region": arn.account_region.region,
        "account": arn.account_region.account,
        "authorized": channel.body["authorized"],
        "hasAdConfiguration": bool(channel.body["adConfigurationArn"]),
        "playbackPath": arn.playback_path,
        "stream": None if stream is None else _stream(transaction, stream, now),
    }


def _stream(transaction: ResourceTransaction, stream: Resource, now: float) -> dict[str, Any]:
    return {
        "streamId": stream.body["streamId"],
        "health": stream.body["health"],
        "startedAt": rfc3339(stream.body["startTime"]),
        "viewerCount": viewer_count(transaction, stream, now),
    }
