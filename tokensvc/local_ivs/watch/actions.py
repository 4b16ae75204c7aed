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
    """As at the edge, so that a verdict is the edge's."""


class Call(NamedTuple):
    """A request to the page's API: the decoded body, the query, and the URL under which the server was reached."""

    fields: Mapping[str, Any]
    query: Mapping[str, str]
    base_url: str


def show(context: WatchContext, call: Call) -> Reply:
    """Everything that the page shows beside the picture; with `channelArn` also the key pairs that apply to that
    channel, with `sessionId` also that session."""
    wanted, session_id = call.query.get("channelArn"), call.query.get("sessionId")
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
        if session_id is not None:
            document["session"] = overview.session(transaction, session_id, now)
    return Reply(200, document)


def create_channel(context: WatchContext, call: Call) -> Reply:
    """CreateChannel, and the channel goes on air. Its ad configuration, if it is to have one, is created first."""
    body = read_as(requests.CreateChannelRequest, call.fields)
    place = context.account_regions[0]
    members: dict[str, Any] = {"name": body.name, "authorized": body.authorized}
    if body.ads:
        playback = f"arn:aws:mediatailor:{place.region}:{place.account}:playbackConfiguration/{body.name}"
        configuration = {"mediaTailorPlaybackConfigurations": [{"playbackConfigurationArn": playback}]}
        made = context.ivs.call(place, "CreateAdConfiguration", configuration, call.base_url)
        members["adConfigurationArn"] = made["adConfiguration"]["arn"]
    created = context.ivs.call(place, "CreateChannel", members, call.base_url)["channel"]
    context.streams.start(created["arn"])
    return Reply(201, {"arn": created["arn"]})


def issue(context: WatchContext, call: Call) -> Reply:
    """A token, for a token request of the service's own form."""
    return context.tokens.issue(call.fields)


def explain(context: WatchContext, call: Call) -> Reply:
    """The verdict of a start that is about to happen, rule by rule. A public channel asks for no token.

    The attempt is the one that the edge builds itself. Nothing is spent and no session is created: the page asks first
    and starts playback then, so that a single use that is new is shown as new.
    """
    body = read_as(requests.VerdictRequest, call.fields)
    with context.resources.begin(write=False) as transaction:
        view = EdgeView(transaction, context.clock.now(), context.propagation_seconds)
        channel = view.channel(body.channel)
        if channel is None:
            raise ChannelNotFound("the local IVS has no such channel")
        attempt = build_attempt(view, body.channel, body.token, body.origin)
    if not channel.body["authorized"]:
        return Reply(200, {"isPublic": True})
    return Reply(200, {"isPublic": False, **context.tokens.explain(attempt)})


def revoke(context: WatchContext, call: Call) -> Reply:
    """Revoke a viewer's sessions."""
    body = read_as(requests.RevokeRequest, call.fields)
    return context.tokens.revoke(body.channel, body.viewer_id)


def rotate(context: WatchContext, call: Call) -> Reply:
    """Replace the key that signs."""
    return context.tokens.rotate(read_as(requests.ChannelRequest, call.fields).channel)


def set_stream(context: WatchContext, call: Call) -> Reply:
    """Put the channel on air, or take it off air with StopStream."""
    body = read_as(requests.StreamRequest, call.fields)
    if body.live:
        return Reply(201, {"streamId": context.streams.start(body.channel_arn)})
    return _operation(context, call, body.channel, "StopStream", {"channelArn": body.channel_arn})


def put_metadata(context: WatchContext, call: Call) -> Reply:
    """PutMetadata."""
    body = read_as(requests.MetadataRequest, call.fields)
    members = {"channelArn": body.channel_arn, "metadata": body.metadata}
    return _operation(context, call, body.channel, "PutMetadata", members)


def insert_ad_break(context: WatchContext, call: Call) -> Reply:
    """InsertAdBreak, from now on."""
    body = read_as(requests.AdBreakRequest, call.fields)
    members = {"channelArn": body.channel_arn, "durationSeconds": body.duration_seconds}
    reply = _operation(context, call, body.channel, "InsertAdBreak", members)
    return Reply(reply.status, {"adBreakId": reply.document["adBreakId"]})


Handler = Callable[[WatchContext, Call], Reply]
READS: Mapping[str, Handler] = {"overview": show}
ACTIONS: Mapping[str, Handler] = {
    "channels": create_channel,
    "tokens": issue,
    "verdicts": explain,
    "revocations": revoke,
    "rotations": rotate,
    "streams": set_stream,
    "metadata": put_metadata,
    "ad-breaks": insert_ad_break,
}
"""The last part of the path -> the handler of its POST."""


def _operation(context: WatchContext, call: Call, channel: Arn, name: str, members: Mapping[str, Any]) -> Reply:
    return Reply(200, context.ivs.call(channel.account_region, name, members, call.base_url))
