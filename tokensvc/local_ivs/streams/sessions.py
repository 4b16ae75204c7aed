"""Stream sessions: what is remembered of every stream, live or over.

Rules of the file
- Source: API reference, StreamSession, StreamSessionSummary and StreamEvent; troubleshooting FAQ: a session is kept for
  60 days, and goes on being kept when its channel is deleted. INFERRED: counted from its end.
- Events are sorted by most recent and are 500 at most; the oldest go.
- "The properties of the channel at the time of going live": its document as it was, like those of its recording and
  failover slate configurations. INFERRED from the AWS CLI's example: neither tags nor SRT are shown.
- Instants are whole seconds, as in the examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.transaction import TxContext

SESSION = "stream-session"
RETENTION_SECONDS = 60 * 24 * 3600
MAX_EVENTS = 500
SNAPSHOTS = {
    "recordingConfiguration": "recordingConfigurationArn",
    "failoverSlateConfiguration": "failoverSlateConfigurationArn",
}
"""Member of a session -> the member of its channel that says which configuration it shows."""

_NOT_SHOWN = ("tags", "srtPassphrase")
_CLEARED_AT_ONCE = 10


def open_session(moment: TxContext, channel: Resource, stream_id: str, ingest: Mapping[str, Any]) -> None:
    """A channel goes live: note how it is now."""
    _clear_old(moment, channel.account_region)
    body: dict[str, Any] = {
        "streamId": stream_id,
        "startTime": int(moment.now),
        "channel": {name: value for name, value in channel.body.items() if name not in _NOT_SHOWN},
        "ingest": dict(ingest),
        "events": [],
        "hasErrorEvent": False,
    }
    for member, reference in SNAPSHOTS.items():
        if (arn := channel.body[reference]) and (kept := moment.transaction.get(arn)):
            body[member] = {"arn": arn, "body": dict(kept.body), "createdAt": kept.created_at}
    name = _session_name(channel.arn, stream_id)
    moment.transaction.put(Resource(name, channel.account_region, SESSION, channel.arn, "", body, moment.now))


def record_event(moment: TxContext, stream: Resource, detail_type: str, name: str, *, is_error: bool = False) -> None:
    """Something happened to a stream."""
    event = {"name": name, "type": detail_type, "eventTime": int(moment.now)}
    session = _of(moment, stream)
    events = [event, *session.body["events"]][:MAX_EVENTS]
    changes = {"events": events, "hasErrorEvent": session.body["hasErrorEvent"] or is_error}
    _change(moment, session, changes)


def record_ingest(moment: TxContext, stream: Resource, ingest: Mapping[str, Any]) -> None:
    """The encoder sends something else now."""
    _change(moment, _of(moment, stream), {"ingest": dict(ingest)})


def close_session(moment: TxContext, stream: Resource) -> None:
    """The stream is over."""
    _change(moment, _of(moment, stream), {"endTime": int(moment.now)})


def session_of(transaction: ResourceTransaction, channel_arn: str, stream_id: str, now: float) -> Resource | None:
    """One session of a channel, the most recent where no stream is named. The channel may be gone by now."""
    if stream_id:
        found = transaction.get(_session_name(channel_arn, stream_id))
    else:
        newest = sessions_of(transaction, channel_arn, after=0, limit=1, now=now)
        found = newest[0][1] if newest else None
    return found if found and not _is_over(found, now) else None


def sessions_of(
    transaction: ResourceTransaction, channel_arn: str, *, after: int, limit: int, now: float
) -> list[tuple[int, Resource]]:
    """A channel's sessions with their numbers, newest first."""
    try:
        place = parse_arn(channel_arn).account_region
    except ValueError:
        return []  # the model's pattern allows names that no channel can have
    found = transaction.page(place, SESSION, after=after, limit=limit, parent_arn=channel_arn, newest_first=True)
    return [(number, session) for number, session in found if not _is_over(session, now)]


def _session_name(channel_arn: str, stream_id: str) -> str:
    return f"{channel_arn}/{SESSION}/{stream_id}"


def _of(moment: TxContext, stream: Resource) -> Resource:
    session = moment.transaction.get(_session_name(stream.parent_arn, stream.body["streamId"]))
    if session is None:  # only an end more than 60 days ago takes one away
        raise LookupError("a live stream has no session")
    return session


def _change(moment: TxContext, session: Resource, changes: Mapping[str, Any]) -> None:
    moment.transaction.put(session._replace(body={**session.body, **changes}))


def _is_over(session: Resource, now: float) -> bool:
    """Whether it need not be remembered any more."""
    return bool(session.body.get("endTime", now) <= now - RETENTION_SECONDS)


def _clear_old(moment: TxContext, account_region: AccountRegion) -> None:
    for _, old in moment.transaction.page(account_region, SESSION, after=0, limit=_CLEARED_AT_ONCE):
        if _is_over(old, moment.now):
            moment.transaction.delete(old.arn)
