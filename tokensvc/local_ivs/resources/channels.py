"""Channels: what is theirs alone.

Sources: API reference, CreateChannel, Channel and MultitrackInputConfiguration; the AWS CLI's examples of
create-channel and update-channel; IVS user guide, "Server-Side Ad Insertion".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.errors import Violation, conflict
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.transaction import Body, OperationCall

MULTITRACK_DEFAULTS: Mapping[str, Any] = {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"}
"""Shown by the CLI's examples where nothing was asked for. INFERRED: a request that leaves one out gets it too."""

DEFAULTS: Mapping[str, Any] = {
    "name": "",  # INFERRED: every example has a name
    "latencyMode": "LOW",
    "type": "STANDARD",
    "authorized": False,
    "insecureIngest": False,
    "preset": "",
    "containerFormat": "TS",
    "recordingConfigurationArn": "",
    "playbackRestrictionPolicyArn": "",
    "adConfigurationArn": "",  # INFERRED, as the others; the examples are older than this member and the next
    "failoverSlateConfigurationArn": "",
    "multitrackInputConfiguration": MULTITRACK_DEFAULTS,
    "tags": {},
}
PRESET_TYPES = ("ADVANCED_HD", "ADVANCED_SD")
DEFAULT_PRESET = "HIGHER_BANDWIDTH_DELIVERY"


def settle_preset(_: OperationCall, request: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """A preset belongs to the advanced types alone, and those always have one.

    INFERRED: asking for one with another type is refused, since the model calls it "selectable only" for those.
    """
    if body["type"] in PRESET_TYPES:
        body["preset"] = body["preset"] or DEFAULT_PRESET
        return
    if "preset" in request:
        yield Violation("preset", f"Member is selectable only for channel types {' and '.join(PRESET_TYPES)}")
    body["preset"] = ""


def settle_multitrack(_: OperationCall, request: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """Enabled, it needs type STANDARD, container FRAGMENTED_MP4, and both of its other members.

    INFERRED: an update replaces the whole configuration.
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


def refuse_ads_in_fragmented_mp4(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """Ads are inserted into MPEG-TS only."""
    if body["adConfigurationArn"] and body["containerFormat"] == "FRAGMENTED_MP4":
        yield Violation("adConfigurationArn", "Member cannot be combined with container format FRAGMENTED_MP4")


def refuse_while_live(call: OperationCall, channel: Resource) -> None:
    """A live channel is neither changed nor deleted: its stream must be stopped first.

    INFERRED for updates: the model says that a live channel cannot be updated, and lists the error; older pages let a
    change wait for the next stream.
    """
    if call.live(channel.arn):
        raise conflict("The channel is live; stop its stream first")


def finish(call: OperationCall, _: Arn, __: str, body: Body) -> str:
    """Every channel has a passphrase for SRT; nothing of a channel must be unique."""
    body["srtPassphrase"] = id_generators.srt_passphrase(call.token)
    return ""


def show(call: OperationCall, resource: Resource) -> Body:
    """Hosts are derived from the place. The passphrase is shown with insecure ingest too, as the examples do."""
    arn = parse_arn(resource.arn)
    return {
        **resource.body,
        "arn": resource.arn,
        "ingestEndpoint": id_generators.ingest_endpoint(arn.account_region),
        "playbackUrl": id_generators.playback_url(arn, call.base_url),
        "srt": {"endpoint": id_generators.srt_endpoint(arn.account_region), "passphrase": resource.body["srtPassphrase"]},
    }
