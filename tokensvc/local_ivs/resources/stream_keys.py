"""Stream keys: what is theirs alone. Source: API reference, StreamKey."""

from __future__ import annotations

from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.transaction import Body, OperationCall


def finish(call: OperationCall, _: Arn, channel_arn: str, body: Body) -> str:
    """The secret that an encoder sends; nothing of a stream key must be unique."""
    body["value"] = id_generators.stream_key_value(parse_arn(channel_arn), call.token)
    return ""


def show(_: OperationCall, resource: Resource) -> Body:
    return {**resource.body, "arn": resource.arn, "channelArn": resource.parent_arn}
