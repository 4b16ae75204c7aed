"""Timed metadata of streams: stored until its segment can no longer be loaded.

Invariants
- Metadata reaches players in the segment of the time at which it was put (IVS user guide, "Embedding Metadata within a
  Video Stream"), in the order in which it was put.
- Metadata may be secret, so it is stored no longer than its segment needs it: whatever is older than RETENTION_SECONDS
  is deleted by the next PutMetadata in the account and region, and while players play there (`edge/sessions.py`);
  everything of a stream is deleted by the stream's end. No log and no event contains it.
- It is stored under its segment, so that a request for a segment reads no other metadata.
"""

from __future__ import annotations

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, ID_CHARS
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.transport_stream import TimedMetadata
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.transaction import TxContext

TIMED_METADATA = "timed-metadata"
"""The kind under which metadata is stored."""
RETENTION_SECONDS = 60
"""Longer than a segment can be loaded."""
_PRUNE_BATCH_SIZE = 10
"""More than one for each that is put, so that none accumulates."""


def put(context: TxContext, stream: Resource, text: str) -> None:
    """Store metadata of a stream for the present segment, and delete old metadata."""
    transaction, account_region = context.transaction, stream.account_region
    delete_old(transaction, account_region, context.now)
    segment = _segment_key(stream.arn, int(context.now // SEGMENT_SECONDS))
    key = f"{segment}/{context.random_string(ALPHANUMERIC, ID_CHARS)}"
    body = {"stream": stream.arn, "text": text}
    transaction.put(Resource(key, account_region, TIMED_METADATA, segment, "", body, context.now))


def metadata_of(transaction: ResourceTransaction, stream: Resource, number: int) -> list[TimedMetadata]:
    """The metadata of a segment of a stream, in order."""
    found = transaction.find(stream.account_region, TIMED_METADATA, parent_arn=_segment_key(stream.arn, number))
    return [TimedMetadata(item.created_at - number * SEGMENT_SECONDS, item.body["text"]) for item in found]


def delete_old(transaction: ResourceTransaction, account_region: AccountRegion, now: float) -> None:
    """Delete some metadata of an account and region whose segments can no longer be loaded, the oldest first."""
    for _, old in transaction.page(account_region, TIMED_METADATA, after=0, limit=_PRUNE_BATCH_SIZE):
        if old.created_at <= now - RETENTION_SECONDS:
            transaction.delete(old.arn)


def delete_all_of(context: TxContext, stream: Resource) -> None:
    """Delete all metadata of a stream."""
    for item in context.transaction.find(stream.account_region, TIMED_METADATA):
        if item.body["stream"] == stream.arn:
            context.transaction.delete(item.arn)


def _segment_key(stream_key: str, number: int) -> str:
    return f"{stream_key}/{TIMED_METADATA}/{number}"
