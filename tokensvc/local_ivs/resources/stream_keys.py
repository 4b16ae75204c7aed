"""Stream keys. Source: API reference, StreamKey."""

from __future__ import annotations

from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.types import ResourceType, limited
from tokensvc.local_ivs.transaction import Body, OperationCall


def generate_value(call: OperationCall, _: Arn, channel_arn: str, body: Body) -> str:
    """IVS generates the value, which only CreateStreamKey, GetStreamKey and BatchGetStreamKey show.

    No member has to be unique.

    INFERRED: A second stream key for a channel is a ServiceQuotaExceededException; the operation lists no
    ConflictException.
    """
    body["value"] = id_generators.stream_key_value(parse_arn(channel_arn), call.random_string)
    return ""


def render(_: OperationCall, resource: Resource) -> Body:
    return {**resource.body, "arn": resource.arn, "channelArn": resource.parent_arn}


STREAM_KEY = ResourceType(
    kind="stream-key",
    member="streamKey",
    list_member="streamKeys",
    operations=limited(
        5,
        create="CreateStreamKey",
        get="GetStreamKey",
        delete="DeleteStreamKey",
        list="ListStreamKeys",
        batch_get="BatchGetStreamKey",
    ),
    quota=1,
    quota_text="1 stream key per channel",
    page_size=1,
    defaults={"tags": {}},
    on_create=generate_value,
    render=render,
    parent_kind="channel",
)
