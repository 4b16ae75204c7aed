"""Stream sessions: the record of every stream, live or ended.

Invariants
- Source: API reference, StreamSession, StreamSessionSummary and StreamEvent; troubleshooting FAQ: a session is kept for
  60 days, also after its channel is deleted.
- INFERRED: The 60 days for which a stream session is kept are counted from its end.
- Events are sorted by most recent first and limited to 500; the oldest are dropped.
- "The properties of the channel at the time of going live": the channel's document at that time, and those of its
  recording and failover slate configurations.
- INFERRED: The channel in a stream session shows neither tags nor SRT, as in the AWS CLI's example.
- Times are whole seconds, as in the examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.transaction import TxContext

SESSION = "stream-session"
"""The kind under which sessions are stored."""
RETENTION_SECONDS = 60 * 24 * 3600
MAX_EVENTS = 500
SNAPSHOTS = {
    "recordingConfiguration": "recordingConfigurationArn",
    "failoverSlateConfiguration": "failoverSlateConfigurationArn",
}
"""Member of a session that shows a configuration -> the channel's member that refers to it."""

_NOT_SHOWN = ("tags", "srtPassphrase")
_PRUNE_BATCH_SIZE = 10


def open_session(context: TxContext, channel: Resource, stream_id: str, ingest: Mapping[str, Any]) -> None:
    """Start the session of a stream, with the channel as it is now."""
    _prune(context, channel.account_region)
    body: dict[str, Any] = {
        "streamId": stream_id,
        "startTime": int(context.now),
        "channel": {name: value for name, value in channel.body.items() if name not in _NOT_SHOWN},
        "ingest": dict(ingest),
        "events": [],
        "hasErrorEvent": False,
    }
    for member, reference in SNAPSHOTS.items():
        if (arn := channel.body[reference]) and (configuration := context.transaction.get(arn)):
            body[member] = {"arn": arn, "body": dict(configuration.body), "createdAt": configuration.created_at}
    key = _session_key(channel.arn, stream_id)
    context.transaction.put(Resource(key, channel.account_region, SESSION, channel.arn, "", body, context.now))


def record_event(context: TxContext, stream: Resource, detail_type: str, name: str, *, is_error: bool = False) -> None:
    """Add an event to the session of a stream."""
    event = {"name": name, "type": detail_type, "eventTime": int(context.now)}
    session = _open_session_of(context, stream)
    events = [event, *session.body["events"]][:MAX_EVENTS]
    _update(context, session, {"events": events, "hasErrorEvent": session.body["hasErrorEvent"] or is_error})


def record_ingest(context: TxContext, stream: Resource, ingest: Mapping[str, Any]) -> None:
    """Store what the encoder sends from now on."""
    _update(context, _open_session_of(context, stream), {"ingest": dict(ingest)})


def close_session(context: TxContext, stream: Resource) -> None:
    """End the session of a stream."""
    _update(context, _open_session_of(context, stream), {"endTime": int(context.now)})


def session_of(transaction: ResourceTransaction, channel_arn: str, stream_id: str, now: float) -> Resource | None:
    """A session of a channel, which may have been deleted. Without a stream id, the most recent one."""
    if stream_id:
        found = transaction.get(_session_key(channel_arn, stream_id))
    else:
        newest = sessions_of(transaction, channel_arn, after=0, limit=1, now=now)
        found = newest[0][1] if newest else None
    return found if found and not _is_expired(found, now) else None


def sessions_of(
    transaction: ResourceTransaction, channel_arn: str, *, after: int, limit: int, now: float
) -> list[tuple[int, Resource]]:
    """The sessions of a channel with their numbers, newest first."""
    try:
        account_region = parse_arn(channel_arn).account_region
    except ValueError:
        return []  # the model's pattern allows ARNs that no channel can have
    found = transaction.page(
        account_region, SESSION, after=after, limit=limit, parent_arn=channel_arn, newest_first=True
    )
    return [(number, session) for number, session in found if not _is_expired(session, now)]


def _session_key(channel_arn: str, stream_id: str) -> str:
    return f"{channel_arn}/{SESSION}/{stream_id}"


def _open_session_of(context: TxContext, stream: Resource) -> Resource:
    session = context.transaction.get(_session_key(stream.parent_arn, stream.body["streamId"]))
    if session is None:  # impossible: sessions are pruned only 60 days after their end
        raise LookupError("a live stream has no session")
    return session


def _update(context: TxContext, session: Resource, changes: Mapping[str, Any]) -> None:
    context.transaction.put(session._replace(body={**session.body, **changes}))


def _is_expired(session: Resource, now: float) -> bool:
    """Whether the retention time of the session is over."""
    return bool(session.body.get("endTime", now) <= now - RETENTION_SECONDS)


def _prune(context: TxContext, account_region: AccountRegion) -> None:
    for _, old in context.transaction.page(account_region, SESSION, after=0, limit=_PRUNE_BATCH_SIZE):
        if _is_expired(old, context.now):
            context.transaction.delete(old.arn)
