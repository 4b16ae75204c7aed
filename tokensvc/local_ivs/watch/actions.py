"""The actions of the watch page, and what it reads: one function for each route under `/watch/api`.

Invariants
- What IVS itself offers is called as an operation of IVS, validated and limited in rate as any other call. Starting a
  stream needs an encoder, which is the stream source here, as on the management listener.
- Tokens, revocations and rotations are the token source's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.errors import ChannelNotFound
from tokensvc.json_models import read_as
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.edge.attempts import build_attempt
from tokensvc.local_ivs.live_streams import StreamSource
from tokensvc.local_ivs.propagation import EdgeView
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.watch import overview, requests
from tokensvc.local_ivs.watch.token_source import Reply, TokenSource
from tokensvc.timestamps import rfc3339


class WatchContext(NamedTuple):
    """What the page works on."""

    ivs: LocalIvs
    resources: ResourceStore
    clock: AdvanceableClock
    streams: StreamSource
    tokens: TokenSource
    account_regions: Sequence[AccountRegion]
    """Whose channels the page shows. The first is where it creates channels."""
    public_url: str | None = None
    propagation_seconds: float = 0.0
    """As at the edge, so that a token is explained with what the edge knows."""


class ActionRequest(NamedTuple):
    """A request to the page's API."""

    fields: Mapping[str, Any]
    """The decoded body."""
    query: Mapping[str, str]
    base_url: str
    """The URL under which the server was reached."""
    session_id: str = ""
    """The playback session that the page asks about; "" if it asks about none."""


def show(context: WatchContext, request: ActionRequest) -> Reply:
    """Everything that the page shows beside the picture; with `channelArn` also the key pairs that apply to that
    channel, with a session id also that session."""
    wanted = request.query.get("channelArn")
    now = context.clock.now()
    with context.resources.begin(write=False) as transaction:
        found = overview.channels(transaction, context.account_regions, now)
        document: dict[str, Any] = {
            "now": rfc3339(int(now)),
            "clockOffsetSeconds": context.clock.offset_seconds,
            "tokens": context.tokens.description,
            "channels": found,
        }
        if wanted is not None and wanted in (channel["arn"] for channel in found):
            channel = read_as(requests.ChannelRequest, {"channelArn": wanted}).channel
            document["keyPairs"] = overview.key_pairs(transaction, channel.account_region)
        if request.session_id:
            document["session"] = overview.session(transaction, request.session_id, now)
    return Reply(200, document)


def create_channel(context: WatchContext, request: ActionRequest) -> Reply:
    """CreateChannel, and the channel goes on air. Its ad configuration, if it is to have one, is created first."""
    body = read_as(requests.CreateChannelRequest, request.fields)
    account_region = context.account_regions[0]
    members: dict[str, Any] = {"name": body.name, "authorized": body.authorized}
    if body.ads:
        playback = (
            f"arn:aws:mediatailor:{account_region.region}:{account_region.account}:playbackConfiguration/{body.name}"
        )
        configuration = {"mediaTailorPlaybackConfigurations": [{"playbackConfigurationArn": playback}]}
        made = context.ivs.call(account_region, "CreateAdConfiguration", configuration, request.base_url)
        members["adConfigurationArn"] = made["adConfiguration"]["arn"]
    created = context.ivs.call(account_region, "CreateChannel", members, request.base_url)["channel"]
    context.streams.start(created["arn"])
    return Reply(201, {"arn": created["arn"]})


def issue(context: WatchContext, request: ActionRequest) -> Reply:
    """A token, for a token request of the service's own form."""
    return context.tokens.issue(request.fields)


def explain(context: WatchContext, request: ActionRequest) -> Reply:
    """A token explained rule by rule, for a start that is about to happen. A public channel needs no token.

    This is not the edge's decision, which also depends on the stream's renditions, the quota of concurrent views and,
    on a public channel, on the playback restriction policy: the page shows that from the edge's response. Nothing is
    spent and no session is created. The page asks before the start, so that a single use that is new is shown as new.
    """
    body = read_as(requests.ExplanationRequest, request.fields)
    with context.resources.begin(write=False) as transaction:
        view = EdgeView(transaction, context.clock.now(), context.propagation_seconds)
        channel = view.channel(body.channel)
        if channel is None:
            raise ChannelNotFound("the local IVS has no such channel")
        attempt = build_attempt(view, body.channel, body.token, body.origin)
    if not channel.body["authorized"]:
        return Reply(200, {"isPublic": True})
    return Reply(200, {"isPublic": False, **context.tokens.explain(attempt)})


def revoke(context: WatchContext, request: ActionRequest) -> Reply:
    """Revoke a viewer's sessions."""
    body = read_as(requests.RevokeRequest, request.fields)
    return context.tokens.revoke(body.channel, body.viewer_id)


def rotate(context: WatchContext, request: ActionRequest) -> Reply:
    """Replace the key that signs."""
    return context.tokens.rotate(read_as(requests.ChannelRequest, request.fields).channel)


def set_stream(context: WatchContext, request: ActionRequest) -> Reply:
    """Put the channel on air, or take it off air with StopStream."""
    body = read_as(requests.StreamRequest, request.fields)
    if body.live:
        return Reply(201, {"streamId": context.streams.start(body.channel_arn)})
    return _operation(context, request, body.channel, "StopStream", {"channelArn": body.channel_arn})


def put_metadata(context: WatchContext, request: ActionRequest) -> Reply:
    """PutMetadata."""
    body = read_as(requests.MetadataRequest, request.fields)
    members = {"channelArn": body.channel_arn, "metadata": body.metadata}
    return _operation(context, request, body.channel, "PutMetadata", members)


def insert_ad_break(context: WatchContext, request: ActionRequest) -> Reply:
    """InsertAdBreak, from now on."""
    body = read_as(requests.AdBreakRequest, request.fields)
    members = {"channelArn": body.channel_arn, "durationSeconds": body.duration_seconds}
    reply = _operation(context, request, body.channel, "InsertAdBreak", members)
    return Reply(reply.status, {"adBreakId": reply.document["adBreakId"]})


Handler = Callable[[WatchContext, ActionRequest], Reply]
READS: Mapping[str, Handler] = {"overview": show}
ACTIONS: Mapping[str, Handler] = {
    "channels": create_channel,
    "tokens": issue,
    "explanations": explain,
    "revocations": revoke,
    "rotations": rotate,
    "streams": set_stream,
    "metadata": put_metadata,
    "ad-breaks": insert_ad_break,
}
"""The last part of the path -> the handler of its POST."""


def _operation(
    context: WatchContext, request: ActionRequest, channel: Arn, name: str, members: Mapping[str, Any]
) -> Reply:
    return Reply(200, context.ivs.call(channel.account_region, name, members, request.base_url))
