"""The kinds of resources, as rows. An operation that creates, reads, changes, deletes or lists is a word in a row.

Rules of the file
- A row says what a kind's members are called, what they default to, how many there may be, what they refer to and how
  they are listed; `crud.py` makes the operations of it. Rules that are a kind's own are named functions, in its file.
- Quotas: IVS user guide, "Service Quotas". Page sizes: API reference, each list's `maxResults`.
  Defaults: API reference, and the output of the AWS CLI's examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs import revocations
from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources import (
    ad_configurations,
    channels,
    playback_key_pairs,
    recording_configurations,
    restriction_policies,
    stream_keys,
)
from tokensvc.local_ivs.streams import failover_slates
from tokensvc.local_ivs.transaction import Body, OperationCall

Rule = Callable[[OperationCall, Mapping[str, Any], Body], Iterable[Violation]]
"""(call, request, body) -> what is wrong. `body` holds the members as they will be; a rule may settle one."""
OnCreate = Callable[[OperationCall, Arn, str, Body], str]
"""(call, the new name, the parent's name, body) -> what must be unique; adds to the body what IVS makes up."""
Render = Callable[[OperationCall, Resource], Body]
CheckMutable = Callable[[OperationCall, Resource], None]
"""(call, resource) -> nothing. Raises IvsError where it may neither change nor go now."""
OnUpdate = Callable[[OperationCall, Body], None]
"""(call, body) -> nothing. Adds to a changed body what IVS makes up."""


def no_unique_key(_: OperationCall, __: Arn, ___: str, ____: Body) -> str:
    """IVS makes up nothing but the name, and nothing must be unique."""
    return ""


def render_body(_: OperationCall, resource: Resource) -> Body:
    """Everything that is kept, under its name."""
    return {**resource.body, "arn": resource.arn}


def always_mutable(_: OperationCall, __: Resource) -> None:
    """It may change and go at any time."""


def nothing_on_update(_: OperationCall, __: Body) -> None:
    """A change adds nothing."""


PARENT_MEMBER = "channelArn"
"""How the model calls the parent of whatever has one."""


class ResourceType(NamedTuple):
    """One kind of resource."""

    name: str
    """As it stands in ARNs."""
    member: str
    """The member of requests' answers that holds one."""
    members: str
    """The member that holds several."""
    operations: Mapping[str, str]
    """Verb of `crud.py` -> operation of the model."""
    quota: int
    """How many there may be in a place, or under one parent."""
    quota_text: str
    page_size: int
    """How many a list returns when nobody says."""
    defaults: Mapping[str, Any]
    rules: tuple[Rule, ...] = ()
    finish: OnCreate = no_unique_key
    show: Render = render_body
    summarise: Render | None = None
    """What a list shows of each, where that costs less than `show`."""
    guard: CheckMutable = always_mutable
    stamp: OnUpdate = nothing_on_update
    parent: str = ""
    """The kind that it belongs to and is deleted with."""
    brings: str = ""
    """The kind of which one is created along with it."""
    references: Mapping[str, str] = {}
    """Members that hold the ARN of another resource, and its kind. "" refers to nothing."""
    filters: Mapping[str, str] = {}
    """Members of the list's request -> the member that is compared, exactly. They exclude each other."""
    beside: tuple[str, ...] = ()
    """What is kept under it that no row describes, and is forgotten with it."""


CHANNEL = ResourceType(
    name="channel",
    member="channel",
    members="channels",
    operations={
        "create": "CreateChannel",
        "get": "GetChannel",
        "update": "UpdateChannel",
        "delete": "DeleteChannel",
        "list": "ListChannels",
        "batch-get": "BatchGetChannel",
    },
    quota=5000,
    quota_text="5000 channels per account and region",
    page_size=100,
    defaults=channels.DEFAULTS,
    rules=(channels.settle_preset, channels.settle_multitrack, channels.refuse_ads_in_fragmented_mp4),
    finish=channels.finish,
    show=channels.show,
    summarise=render_body,
    guard=channels.refuse_while_live,
    brings="stream-key",
    beside=(revocations.KIND,),
    references={
        "recordingConfigurationArn": "recording-configuration",
        "playbackRestrictionPolicyArn": "playback-restriction-policy",
        "adConfigurationArn": "ad-configuration",
        "failoverSlateConfigurationArn": "failover-slate-configuration",
    },
    filters={
        "filterByName": "name",
        "filterByRecordingConfigurationArn": "recordingConfigurationArn",
        "filterByPlaybackRestrictionPolicyArn": "playbackRestrictionPolicyArn",
        "filterByAdConfigurationArn": "adConfigurationArn",
        "filterByFailoverSlateConfigurationArn": "failoverSlateConfigurationArn",
    },
)

STREAM_KEY = ResourceType(
    name="stream-key",
    member="streamKey",
    members="streamKeys",
    operations={
        "create": "CreateStreamKey",
        "get": "GetStreamKey",
        "delete": "DeleteStreamKey",
        "list": "ListStreamKeys",
        "batch-get": "BatchGetStreamKey",
    },
    quota=1,
    quota_text="1 stream key per channel",
    page_size=1,
    defaults={"tags": {}},
    finish=stream_keys.finish,
    show=stream_keys.show,
    parent="channel",
)

PLAYBACK_KEY = ResourceType(
    name="playback-key",
    member="keyPair",
    members="keyPairs",
    operations={
        "create": "ImportPlaybackKeyPair",
        "get": "GetPlaybackKeyPair",
        "delete": "DeletePlaybackKeyPair",
        "list": "ListPlaybackKeyPairs",
    },
    quota=3,
    quota_text="3 playback key pairs per account and region",
    page_size=3,  # "your service quota or 100, whichever is less"
    defaults=playback_key_pairs.DEFAULTS,
    finish=playback_key_pairs.finish,
)

RESTRICTION_POLICY = ResourceType(
    name="playback-restriction-policy",
    member="playbackRestrictionPolicy",
    members="playbackRestrictionPolicies",
    operations={
        "create": "CreatePlaybackRestrictionPolicy",
        "get": "GetPlaybackRestrictionPolicy",
        "update": "UpdatePlaybackRestrictionPolicy",
        "delete": "DeletePlaybackRestrictionPolicy",
        "list": "ListPlaybackRestrictionPolicies",
    },
    quota=3,
    quota_text="3 playback restriction policies per account and region",
    page_size=1,
    defaults=restriction_policies.DEFAULTS,
    rules=(
        restriction_policies.know_countries,
        restriction_policies.spell_origins,
        restriction_policies.change_within_quotas,
    ),
    finish=restriction_policies.finish,
)

RECORDING_CONFIGURATION = ResourceType(
    name="recording-configuration",
    member="recordingConfiguration",
    members="recordingConfigurations",
    operations={
        "create": "CreateRecordingConfiguration",
        "get": "GetRecordingConfiguration",
        "delete": "DeleteRecordingConfiguration",
        "list": "ListRecordingConfigurations",
    },
    quota=20,
    quota_text="20 recording configurations per account and region",
    page_size=20,  # "your service quota or 100, whichever is less"
    defaults=recording_configurations.DEFAULTS,
    rules=(
        recording_configurations.have_one_destination,
        recording_configurations.settle_thumbnails,
        recording_configurations.settle_renditions,
    ),
    show=recording_configurations.show,
)

AD_CONFIGURATION = ResourceType(
    name="ad-configuration",
    member="adConfiguration",
    members="adConfigurations",
    operations={
        "create": "CreateAdConfiguration",
        "get": "GetAdConfiguration",
        "update": "UpdateAdConfiguration",
        "delete": "DeleteAdConfiguration",
        "list": "ListAdConfigurations",
    },
    quota=20,
    quota_text="20 ad configurations per account and region",
    page_size=20,  # as above
    defaults=ad_configurations.DEFAULTS,
    rules=(ad_configurations.know_playback_configurations,),
)

FAILOVER_SLATE_CONFIGURATION = ResourceType(
    name="failover-slate-configuration",
    member="failoverSlateConfiguration",
    members="failoverSlateConfigurations",
    operations={
        "create": "CreateFailoverSlateConfiguration",
        "get": "GetFailoverSlateConfiguration",
        "update": "UpdateFailoverSlateConfiguration",
        "delete": "DeleteFailoverSlateConfiguration",
        "list": "ListFailoverSlateConfigurations",
    },
    quota=failover_slates.QUOTA,
    quota_text=f"{failover_slates.QUOTA} failover slate configurations per account and region",
    page_size=failover_slates.QUOTA,  # as above
    defaults=failover_slates.DEFAULTS,
    show=failover_slates.show,
    stamp=failover_slates.stamp,
)

RESOURCE_TYPES: Mapping[str, ResourceType] = {
    kind.name: kind
    for kind in (
        CHANNEL,
        STREAM_KEY,
        PLAYBACK_KEY,
        RESTRICTION_POLICY,
        RECORDING_CONFIGURATION,
        AD_CONFIGURATION,
        FAILOVER_SLATE_CONFIGURATION,
    )
}
