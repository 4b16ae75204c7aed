"""The operations on live streams: GetStream, ListStreams, StopStream, PutMetadata.

Rules of the file
- Source: API reference, these four and Stream. A channel that is not live answers ChannelNotBroadcasting; the state
  OFFLINE is never returned, and the reference says not to rely on it.
- A kilobyte of metadata: "1 KB". INFERRED: 1,024 bytes of UTF-8. It is a request's secret and kept nowhere: there is no
  media here that it could be put into.
- INFERRED: of a request with two faults, an unknown channel comes first, then metadata that is too long, then a channel
  that is not live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.errors import invalid_member, not_broadcasting
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.streams import lifecycle
from tokensvc.local_ivs.streams.live_streams import STREAM, stream_of
from tokensvc.local_ivs.transaction import Body, OperationCall, Handler

METADATA_MAX_BYTES = 1024
PAGE_SIZE = 100


def get_stream(call: OperationCall, request: Mapping[str, Any]) -> Body:
    return {"stream": _show(call, live_stream(call, request["channelArn"]))}


def list_streams(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """One page of the live streams, in the order in which they started."""
    health = request.get("filterBy", {}).get("health", "")
    scope = json.dumps([call.operation, *call.account_region, health])
    after = call.pages.read(scope, request.get("nextToken", ""))
    limit = request.get("maxResults", PAGE_SIZE)
    equal = {"health": health} if health else {}
    found = call.transaction.page(call.account_region, STREAM, after=after, limit=limit + 1, equal=equal)
    answer: Body = {"streams": [_show(call, stream) for _, stream in found[:limit]]}
    if len(found) > limit:
        answer["nextToken"] = call.pages.write(scope, found[limit - 1][0])
    return answer


def stop_stream(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Disconnect the encoder. Here none reconnects by itself."""
    lifecycle.stop(call.moment, live_stream(call, request["channelArn"]))
    return {}


def put_metadata(call: OperationCall, request: Mapping[str, Any]) -> Body:
    channel = call.existing(request["channelArn"], "channel")
    if len(request["metadata"].encode()) > METADATA_MAX_BYTES:
        raise invalid_member("metadata", f"Member must have at most {METADATA_MAX_BYTES} bytes")
    live_stream(call, channel.arn)
    return {}


def live_stream(call: OperationCall, channel_arn: str) -> Resource:
    """The stream of a channel of the caller's. Raises IvsError where there is no such channel, or it is not live."""
    stream = stream_of(call.transaction, call.existing(channel_arn, "channel").arn)
    if stream is None:
        raise not_broadcasting(channel_arn)
    return stream


def _show(call: OperationCall, stream: Resource) -> Body:
    return {
        **stream.body,
        "channelArn": stream.parent_arn,
        "playbackUrl": id_generators.playback_url(parse_arn(stream.parent_arn), call.base_url),
        "state": "LIVE",
        "viewerCount": stream.body["viewers"] + call.viewers.count(stream.body["streamId"], call.now),
    }


HANDLERS: Mapping[str, Handler] = {
    "GetStream": Handler(get_stream, writes=False),
    "ListStreams": Handler(list_streams, writes=False),
    "StopStream": Handler(stop_stream, writes=True),
    "PutMetadata": Handler(put_metadata, writes=False),
}
