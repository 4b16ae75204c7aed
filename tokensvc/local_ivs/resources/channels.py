"""Channels.

Sources: API reference, CreateChannel, Channel and MultitrackInputConfiguration; the AWS CLI's examples of
create-channel and update-channel; IVS user guide, "Server-Side Ad Insertion".

INFERRED: A channel without ad configuration or failover slate configuration shows an empty ARN, as it does for its
other references. AWS's examples are older than these two members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import id_generators, revocations
from tokensvc.local_ivs.errors import Violation, conflict
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.types import ResourceType, limited, render_stored
from tokensvc.local_ivs.transaction import Body, OperationCall

MULTITRACK_DEFAULTS: Mapping[str, Any] = {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"}
"""Shown by the AWS CLI's examples if the request sets none.

INFERRED: Members of `multitrackInputConfiguration` that a request omits get the defaults of an absent configuration.
"""
PRESET_TYPES = ("ADVANCED_HD", "ADVANCED_SD")
DEFAULT_PRESET = "HIGHER_BANDWIDTH_DELIVERY"


def validate_preset(_: OperationCall, request: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """Only the types ADVANCED_HD and ADVANCED_SD have a preset, and they always have one.

    INFERRED: A preset for another channel type than ADVANCED_HD and ADVANCED_SD is a ValidationException, since the
    model calls it "selectable only" for those two.
    """
    if body["type"] in PRESET_TYPES:
        body["preset"] = body["preset"] or DEFAULT_PRESET
        return
    if "preset" in request:
        yield Violation("preset", f"Member is selectable only for channel types {' and '.join(PRESET_TYPES)}")
    body["preset"] = ""


def validate_multitrack(_: OperationCall, request: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """Multitrack input requires type STANDARD, container FRAGMENTED_MP4 and both of its other members.

    INFERRED: An update of a channel replaces the whole `multitrackInputConfiguration`.
    """
    member = "multitrackInputConfiguration"
    given = request.get(member)
    if given is not None:
        body[member] = {**MULTITRACK_DEFAULTS, **given}
    if not body[member]["enabled"]:
        return
    for name in ("policy", "maximumResolution"):
        if given is not None and name not in given:
            yield Violation(f"{member}.{name}", "Member must not be null when multitrack input is enabled")
    if body["type"] != "STANDARD":
        yield Violation(f"{member}.enabled", "Member can be true only if the channel type is STANDARD")
    if body["containerFormat"] != "FRAGMENTED_MP4":
        yield Violation("containerFormat", "Member must be FRAGMENTED_MP4 when multitrack input is enabled")


def validate_ads_container(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """An ad configuration cannot be combined with container format FRAGMENTED_MP4."""
    if body["adConfigurationArn"] and body["containerFormat"] == "FRAGMENTED_MP4":
        yield Violation("adConfigurationArn", "Member cannot be combined with container format FRAGMENTED_MP4")


def check_not_live(call: OperationCall, channel: Resource) -> None:
    """A live channel can be neither updated nor deleted until its stream is stopped: ConflictException.

    INFERRED: An update of a live channel is a ConflictException. The model says that a live channel cannot be updated,
    and lists the error; older pages let an update apply to the next stream.
    """
    if call.is_live(channel.arn):
        raise conflict("The channel is live; stop its stream first")


def generate_passphrase(call: OperationCall, _: Arn, __: str, body: Body) -> str:
    """Every channel has an SRT passphrase.

    No member has to be unique.
    """
    body["srtPassphrase"] = id_generators.srt_passphrase(call.random_string)
    return ""


def render(call: OperationCall, resource: Resource) -> Body:
    """The stored members, and the URLs derived from the ARN. The SRT passphrase is shown with insecure ingest too, as
    in the AWS CLI's examples."""
    arn = parse_arn(resource.arn)
    srt_endpoint = id_generators.srt_endpoint(arn.account_region)
    return {
        **resource.body,
        "arn": resource.arn,
        "ingestEndpoint": id_generators.ingest_endpoint(arn.account_region),
        "playbackUrl": id_generators.playback_url(arn, call.base_url),
        "srt": {"endpoint": srt_endpoint, "passphrase": resource.body["srtPassphrase"]},
    }


CHANNEL = ResourceType(
    kind="channel",
    member="channel",
    list_member="channels",
    operations=limited(
        5,
        create="CreateChannel",
        get="GetChannel",
        update="UpdateChannel",
        delete="DeleteChannel",
        list="ListChannels",
        batch_get="BatchGetChannel",
    ),
    quota=5000,
    quota_text="5000 channels per account and region",
    page_size=100,
    defaults={
        "name": "",
        "latencyMode": "LOW",
        "type": "STANDARD",
        "authorized": False,
        "insecureIngest": False,
        "preset": "",
        "containerFormat": "TS",
        "recordingConfigurationArn": "",
        "playbackRestrictionPolicyArn": "",
        "adConfigurationArn": "",
        "failoverSlateConfigurationArn": "",
        "multitrackInputConfiguration": MULTITRACK_DEFAULTS,
        "tags": {},
    },
    rules=(validate_preset, validate_multitrack, validate_ads_container),
    on_create=generate_passphrase,
    check_mutable=check_not_live,
    render=render,
    render_summary=render_stored,
    creates_with="stream-key",
    owned_kinds=(revocations.KIND,),
    edge_members=("authorized", "playbackRestrictionPolicyArn"),
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
