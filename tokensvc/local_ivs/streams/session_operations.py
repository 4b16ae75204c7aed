"""The operations on stream sessions: GetStreamSession, ListStreamSessions.

Invariants
- Source: API reference, these two, StreamSession and StreamSessionSummary.
- A deleted channel keeps its sessions (see `sessions.py`), so its ARN is enough to read them.
- The first paragraph of a handler's docstring says what it enforces; `docs/reference/local-ivs.md` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.errors import not_found
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.streams import ingest
from tokensvc.local_ivs.streams.sessions import SNAPSHOTS, session_of, sessions_of
from tokensvc.local_ivs.transaction import Body, Handler, OperationCall

PAGE_SIZE = 100
_RATE_LIMITS = (RateLimit(5),)


def get_stream_session(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Sessions are kept for 60 days, also those of a deleted channel. Events are newest first, and 500 at most."""
    channel_arn, stream_id = request["channelArn"], request.get("streamId", "")
    session = session_of(call.transaction, channel_arn, stream_id, call.now)
    if session is None or session.account_region != call.account_region:
        raise not_found(f"{channel_arn}/{stream_id}" if stream_id else channel_arn)
    return {"streamSession": _render(call, session)}


def list_stream_sessions(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """The sessions include the live one, which has no `endTime`. A page has 100 entries by default.

    INFERRED: A list of stream sessions starts with the newest one.

    INFERRED: A channel that never had a stream lists no sessions. A channel that never existed, or that was deleted and
    has no sessions left, is not found.
    """
    channel_arn = request["channelArn"]
    scope = json.dumps([call.operation, *call.account_region, channel_arn])
    after = call.page_tokens.decode(scope, request.get("nextToken", ""))
    limit = request.get("maxResults", PAGE_SIZE)
    found = sessions_of(call.transaction, channel_arn, after=after, limit=limit + 1, now=call.now)
    if not found or found[0][1].account_region != call.account_region:
        call.require(channel_arn, "channel")
    response: Body = {"streamSessions": [session.body for _, session in found[:limit]]}
    if len(found) > limit:
        response["nextToken"] = call.page_tokens.encode(scope, found[limit - 1][0])
    return response


def _render(call: OperationCall, session: Resource) -> Body:
    body, channel_arn = session.body, parse_arn(session.parent_arn)
    rendered: Body = {
        **{name: body.get(name) for name in ("streamId", "startTime", "endTime")},
        "channel": {
            **body["channel"],
            "arn": session.parent_arn,
            "ingestEndpoint": id_generators.ingest_endpoint(channel_arn.account_region),
            "playbackUrl": id_generators.playback_url(channel_arn, call.base_url),
        },
        "ingestConfiguration": ingest.first_track(body["ingest"]),
        "ingestConfigurations": ingest.all_tracks(body["ingest"]),
        "truncatedEvents": body["events"],
    }
    for member in SNAPSHOTS:
        if snapshot := body.get(member):
            kind = parse_arn(snapshot["arn"]).kind
            configuration = Resource(
                snapshot["arn"], session.account_region, kind, "", "", snapshot["body"], snapshot["createdAt"]
            )
            at_start = call._replace(now=body["startTime"])
            rendered[member] = RESOURCE_TYPES[kind].render(at_start, configuration)
    return rendered


HANDLERS: Mapping[str, Handler] = {
    "GetStreamSession": Handler(get_stream_session, writes=False, rate_limits=_RATE_LIMITS),
    "ListStreamSessions": Handler(list_stream_sessions, writes=False, rate_limits=_RATE_LIMITS),
}
