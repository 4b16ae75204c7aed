"""The operations on live streams: GetStream, ListStreams, StopStream, PutMetadata.

Invariants
- Source: API reference, these four and Stream. A channel that is not live is answered with ChannelNotBroadcasting; the
  state OFFLINE is never returned, and the reference says not to rely on it.
- Metadata may be secret; how long it is stored, `timed_metadata.py` says.
- The first paragraph of a handler's docstring says what it enforces; `docs/reference/local-ivs.md` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.errors import invalid_member, not_broadcasting
from tokensvc.local_ivs.live_streams import STREAM, stream_of, viewer_count
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.streams import lifecycle, timed_metadata
from tokensvc.local_ivs.transaction import Body, Handler, OperationCall

METADATA_MAX_BYTES = 1024
PAGE_SIZE = 100
_RATE_LIMITS = (RateLimit(5),)


def get_stream(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """A channel that is not live is a ChannelNotBroadcasting."""
    return {"stream": _render(call, require_stream(call, request["channelArn"]))}


def list_streams(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Live streams can be filtered by health. A page has 100 entries by default.

    INFERRED: Live streams are listed in the order in which they started; AWS documents none.
    """
    health = request.get("filterBy", {}).get("health", "")
    scope = json.dumps([call.operation, *call.account_region, health])
    after = call.page_tokens.decode(scope, request.get("nextToken", ""))
    limit = request.get("maxResults", PAGE_SIZE)
    equal = {"health": health} if health else {}
    found = call.transaction.page(call.account_region, STREAM, after=after, limit=limit + 1, equal=equal)
    response: Body = {"streams": [_render(call, stream) for _, stream in found[:limit]]}
    if len(found) > limit:
        response["nextToken"] = call.page_tokens.encode(scope, found[limit - 1][0])
    return response


def stop_stream(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """A channel that is not live is a ChannelNotBroadcasting.

    No encoder reconnects by itself here.
    """
    lifecycle.stop(call.context, require_stream(call, request["channelArn"]))
    return {}


def put_metadata(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """The channel is live, and metadata has at most 1 KB. Players get it in the segment of its time, as an ID3 tag.

    INFERRED: The 1 KB of metadata is 1,024 bytes of UTF-8.

    INFERRED: If a PutMetadata request has several faults, an unknown channel is reported first, then metadata that is
    too long, then a channel that is not live.
    """
    channel = call.require(request["channelArn"], "channel")
    if len(request["metadata"].encode()) > METADATA_MAX_BYTES:
        raise invalid_member("metadata", f"Member must have at most {METADATA_MAX_BYTES} bytes")
    timed_metadata.put(call.context, require_stream(call, channel.arn), request["metadata"])
    return {}


def require_stream(call: OperationCall, channel_arn: str) -> Resource:
    """The live stream of one of the caller's channels. Raises IvsError if the channel does not exist or is not live."""
    stream = stream_of(call.transaction, call.require(channel_arn, "channel").arn)
    if stream is None:
        raise not_broadcasting(channel_arn)
    return stream


def _render(call: OperationCall, stream: Resource) -> Body:
    return {
        **stream.body,
        "channelArn": stream.parent_arn,
        "playbackUrl": id_generators.playback_url(parse_arn(stream.parent_arn), call.base_url),
        "state": "LIVE",
        "viewerCount": viewer_count(call.transaction, stream, call.now),
    }


HANDLERS: Mapping[str, Handler] = {
    "GetStream": Handler(get_stream, writes=False, rate_limits=_RATE_LIMITS),
    "ListStreams": Handler(list_streams, writes=False, rate_limits=_RATE_LIMITS),
    "StopStream": Handler(stop_stream, writes=True, rate_limits=_RATE_LIMITS),
    "PutMetadata": Handler(put_metadata, writes=True, rate_limits=(RateLimit(5, "channelArn"), RateLimit(155))),
}
