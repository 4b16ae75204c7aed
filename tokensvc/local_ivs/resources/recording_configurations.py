"""Recording configurations.

Sources: API reference, CreateRecordingConfiguration, ThumbnailConfiguration and RenditionConfiguration; IVS user guide,
"Auto-Record to Amazon S3". There is no S3 here: every bucket is assumed to exist in the right region, so no
configuration fails.

INFERRED: Members of a thumbnail or rendition configuration that are left out get their defaults, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.types import ResourceType, limited
from tokensvc.local_ivs.transaction import Body, OperationCall

CREATING_SECONDS = 3.0
"""INFERRED: A recording configuration is CREATING for 3 seconds before it is ACTIVE; AWS documents no duration."""

THUMBNAIL_DEFAULTS: Mapping[str, Any] = {"recordingMode": "INTERVAL", "targetIntervalSeconds": 60}
STORAGE_DEFAULT = ("SEQUENTIAL",)
RENDITION_DEFAULTS: Mapping[str, Any] = {"renditionSelection": "ALL", "renditions": []}


def validate_destination(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """S3 is the only destination type, and it is required."""
    if "s3" not in body["destinationConfiguration"]:
        yield Violation("destinationConfiguration", "Member must have exactly one destination type")


def validate_thumbnails(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """A thumbnail interval is allowed only with mode INTERVAL, and required if that mode is requested."""
    member = "thumbnailConfiguration"
    given = body[member]
    interval = "targetIntervalSeconds"
    if given.get("recordingMode") == "DISABLED" and interval in given:
        yield Violation(f"{member}.{interval}", "Member can be set only if recordingMode is INTERVAL")
    if given.get("recordingMode") == "INTERVAL" and interval not in given:
        yield Violation(f"{member}.{interval}", "Member must not be null when recordingMode is INTERVAL")
    normalized = {**THUMBNAIL_DEFAULTS, "storage": list(STORAGE_DEFAULT), **given}
    if normalized["recordingMode"] == "DISABLED":
        del normalized[interval]
    body[member] = normalized


def validate_renditions(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """The rendition selection CUSTOM requires renditions; other selections ignore them."""
    member = "renditionConfiguration"
    body[member] = {**RENDITION_DEFAULTS, **body[member]}
    if body[member]["renditionSelection"] == "CUSTOM" and not body[member]["renditions"]:
        yield Violation(f"{member}.renditions", "Member must not be empty when renditionSelection is CUSTOM")


def render(call: OperationCall, resource: Resource) -> Body:
    """The stored members, and the state derived from the clock."""
    state = "CREATING" if call.now < resource.created_at + CREATING_SECONDS else "ACTIVE"
    return {**resource.body, "arn": resource.arn, "state": state}


RECORDING_CONFIGURATION = ResourceType(
    kind="recording-configuration",
    member="recordingConfiguration",
    list_member="recordingConfigurations",
    operations=limited(
        3,
        create="CreateRecordingConfiguration",
        get="GetRecordingConfiguration",
        delete="DeleteRecordingConfiguration",
        list="ListRecordingConfigurations",
    ),
    quota=20,
    quota_text="20 recording configurations per account and region",
    page_size=20,  # "your service quota or 100, whichever is less"
    defaults={
        "name": "",
        "recordingReconnectWindowSeconds": 0,
        "thumbnailConfiguration": {},
        "renditionConfiguration": {},
        "tags": {},
    },
    rules=(validate_destination, validate_thumbnails, validate_renditions),
    render=render,
)
