"""Recording configurations: what is theirs alone.

Sources: API reference, CreateRecordingConfiguration, ThumbnailConfiguration and RenditionConfiguration; IVS user guide,
"Auto-Record to Amazon S3".
INFERRED
- How long one is CREATING. There is no S3 here: every bucket is taken to exist in the right region, so none fails.
- Parts of a thumbnail or rendition configuration that are left out get their defaults, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.transaction import Body, OperationCall

CREATING_SECONDS = 3.0
"""INFERRED: how long the state is CREATING before it is ACTIVE; AWS names no time."""

THUMBNAIL_DEFAULTS: Mapping[str, Any] = {"recordingMode": "INTERVAL", "targetIntervalSeconds": 60}
STORAGE_DEFAULT = ("SEQUENTIAL",)
RENDITION_DEFAULTS: Mapping[str, Any] = {"renditionSelection": "ALL", "renditions": []}
DEFAULTS: Mapping[str, Any] = {
    "name": "",  # INFERRED
    "recordingReconnectWindowSeconds": 0,
    "thumbnailConfiguration": {},
    "renditionConfiguration": {},
    "tags": {},
}


def have_one_destination(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """S3 is the only type that there is, and it must be there."""
    if "s3" not in body["destinationConfiguration"]:
        yield Violation("destinationConfiguration", "Member must have exactly one destination type")


def settle_thumbnails(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """An interval goes with mode INTERVAL alone, and an INTERVAL that is asked for needs one."""
    member = "thumbnailConfiguration"
    given = body[member]
    target = "targetIntervalSeconds"
    if given.get("recordingMode") == "DISABLED" and target in given:
        yield Violation(f"{member}.{target}", "Member can be set only if recordingMode is INTERVAL")
    if given.get("recordingMode") == "INTERVAL" and target not in given:
        yield Violation(f"{member}.{target}", "Member must not be null when recordingMode is INTERVAL")
    settled = {**THUMBNAIL_DEFAULTS, "storage": list(STORAGE_DEFAULT), **given}
    if settled["recordingMode"] == "DISABLED":
        del settled[target]
    body[member] = settled


def settle_renditions(_: OperationCall, __: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """CUSTOM names its renditions; with the others they are irrelevant."""
    member = "renditionConfiguration"
    body[member] = {**RENDITION_DEFAULTS, **body[member]}
    if body[member]["renditionSelection"] == "CUSTOM" and not body[member]["renditions"]:
        yield Violation(f"{member}.renditions", "Member must not be empty when renditionSelection is CUSTOM")


def show(call: OperationCall, resource: Resource) -> Body:
    """The state follows from the clock."""
    state = "CREATING" if call.now < resource.created_at + CREATING_SECONDS else "ACTIVE"
    return {**resource.body, "arn": resource.arn, "state": state}
