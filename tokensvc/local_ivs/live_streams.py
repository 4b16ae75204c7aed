"""Live streams: the interface that creates them, and how to find the stream of a channel.

Invariants
- A channel is live exactly while a document is stored under its `stream_document_key`. `streams/lifecycle.py` writes
  and deletes these documents; operations and the edge only read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction

STREAM = "stream"
"""The kind under which live streams are stored. It has no ResourceType, since no operation creates a stream."""


def stream_document_key(channel_arn: str) -> str:
    """The key under which a channel's stream is stored. It is never a valid ARN, so no operation can address it."""
    return f"{channel_arn}/{STREAM}"


def stream_of(transaction: ResourceTransaction, channel_arn: str) -> Resource | None:
    """The live stream of a channel, or None if the channel is not live."""
    return transaction.get(stream_document_key(channel_arn))


def viewer_count(transaction: ResourceTransaction, stream: Resource, now: float) -> int:
    """The viewers of a stream: the active sessions at the edge, and those that were set.

    INFERRED: A view counts as soon as playback starts. IVS documents that it appears within 15 seconds.
    """
    return int(stream.body["viewers"]) + transaction.sessions.count_active(stream.body["streamId"], now)


class StreamSource(Protocol):
    """A source of streams for the channels of the local IVS. Every method raises IvsError if it cannot be applied."""

    def start(self, channel_arn: str, ingest: Mapping[str, Any] | None = None) -> str:
        """An encoder connects and the channel goes live. Returns the stream id."""
        ...

    def stop(self, channel_arn: str) -> None:
        """The encoder disconnects and the stream ends."""
        ...

    def set_health(self, channel_arn: str, health: str) -> None:
        """Set the stream's health to HEALTHY, STARVING or UNKNOWN."""
        ...

    def set_ingest(self, channel_arn: str, ingest: Mapping[str, Any]) -> None:
        """The encoder changes what it sends."""
        ...

    def set_viewers(self, channel_arn: str, count: int) -> None:
        """Set the number of viewers that are counted in addition to those who came through the edge."""
        ...
