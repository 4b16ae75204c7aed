"""The operations on what is remembered of streams: GetStreamSession, ListStreamSessions.

Rules of the file
- Source: API reference, these two, StreamSession and StreamSessionSummary.
- A channel that was deleted keeps its sessions (see `sessions.py`), so its ARN is enough to read them.
- INFERRED: a list begins with the newest session; a channel that has had no stream lists none, while one that was never
  there, or has nothing left, is not found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.errors import not_found
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.types import RESOURCE_TYPES
from tokensvc.local_ivs.streams import ingest
from tokensvc.local_ivs.streams.sessions import SNAPSHOTS, session_of, sessions_of
from tokensvc.local_ivs.transaction import Body, OperationCall, Handler

PAGE_SIZE = 100


def get_stream_session(call: OperationCall, request: Mapping[str, Any]) -> Body:
    channel_arn, stream_id = request["channelArn"], request.get("streamId", "")
    session = session_of(call.transaction, channel_arn, stream_id, call.now)
    if session is None or session.account_region != call.account_region:
        raise not_found(f"{channel_arn}/{stream_id}" if stream_id else channel_arn)
    return {"streamSession": _show(call, session)}


def list_stream_sessions(call: OperationCall, request: Mapping[str, Any]) -> Body:
    channel_arn = request["channelArn"]
    scope = json.dumps([call.operation, *call.account_region, channel_arn])
    after = call.pages.read(scope, request.get("nextToken", ""))
    limit = request.get("maxResults", PAGE_SIZE)
    found = sessions_of(call.transaction, channel_arn, after=after, limit=limit + 1, now=call.now)
    if not found or found[0][1].account_region != call.account_region:
        call.existing(channel_arn, "channel")
    answer: Body = {"streamSessions": [session.body for _, session in found[:limit]]}
    if len(found) > limit:
        answer["nextToken"] = call.pages.write(scope, found[limit - 1][0])
    return answer


def _show(call: OperationCall, session: Resource) -> Body:
    body, arn = session.body, parse_arn(session.parent_arn)
    shown: Body = {
        **{name: body.get(name) for name in ("streamId", "startTime", "endTime")},
        "channel": {
            **body["channel"],
            "arn": session.parent_arn,
            "ingestEndpoint": id_generators.ingest_endpoint(arn.account_region),
            "playbackUrl": id_generators.playback_url(arn, call.base_url),
        },
        "ingestConfiguration": ingest.first_track(body["ingest"]),
        "ingestConfigurations": ingest.all_tracks(body["ingest"]),
        "truncatedEvents": body["events"],
    }
    for member in SNAPSHOTS:
        if kept := body.get(member):
            kind = parse_arn(kept["arn"]).kind
            then = Resource(kept["arn"], session.account_region, kind, "", "", kept["body"], kept["createdAt"])
            shown[member] = RESOURCE_TYPES[kind].show(call._replace(now=body["startTime"]), then)
    return shown


HANDLERS: Mapping[str, Handler] = {
    "GetStreamSession": Handler(get_stream_session, writes=False),
    "ListStreamSessions": Handler(list_stream_sessions, writes=False),
}
