"""Which channels are live: a channel is while a document of its stream stands beside it, and never otherwise.

`streams.py` writes these documents; whoever only asks - `OperationCall.live`, the edge - asks here.
"""

from __future__ import annotations

from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction

STREAM = "stream"
"""The kind of a live stream. It is no kind of `kinds.py`: nobody creates one by an operation."""


def stream_name(channel_arn: str) -> str:
    """What a channel's stream is kept under. No ARN that an operation accepts has this form."""
    return f"{channel_arn}/{STREAM}"


def stream_of(transaction: ResourceTransaction, channel_arn: str) -> Resource | None:
    """The stream that is live on a channel, or None."""
    return transaction.get(stream_name(channel_arn))
