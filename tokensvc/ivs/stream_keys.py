"""Stream keys: what is theirs alone. Source: API reference, StreamKey."""

from __future__ import annotations

from tokensvc.core.arn import Arn, parse_arn
from tokensvc.ivs import identity
from tokensvc.ivs.call import Body, Call
from tokensvc.ports.resources import Resource


def finish(call: Call, _: Arn, channel_arn: str, body: Body) -> str:
    """The secret that an encoder sends; nothing of a stream key must be unique."""
    body["value"] = identity.stream_key_value(parse_arn(channel_arn), call.token)
    return ""


def show(_: Call, resource: Resource) -> Body:
    return {**resource.body, "arn": resource.arn, "channelArn": resource.parent_arn}
