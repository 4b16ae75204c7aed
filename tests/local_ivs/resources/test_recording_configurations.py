"""Recording configurations follow the rules of CreateRecordingConfiguration and its types in the API reference."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import FrozenClock
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.resources.recording_configurations import CREATING_SECONDS

S3 = {"destinationConfiguration": {"s3": {"bucketName": "my-bucket"}}}


def create(call: CallIvs, **request: Any) -> dict[str, Any]:
    created: dict[str, Any] = call("CreateRecordingConfiguration", **{**S3, **request})["recordingConfiguration"]
    return created


def test_the_defaults_are_the_documented_ones(call: CallIvs) -> None:
    """API reference: reconnect window 0, thumbnails INTERVAL every 60 seconds and SEQUENTIAL, renditions ALL."""
    created = create(call)
    assert created.pop("arn").startswith("arn:aws:ivs:us-west-2:000000000000:recording-configuration/")
    assert created == {
        "name": "",
        **S3,
        "state": "CREATING",
        "recordingReconnectWindowSeconds": 0,
        "thumbnailConfiguration": {"recordingMode": "INTERVAL", "targetIntervalSeconds": 60, "storage": ["SEQUENTIAL"]},
        "renditionConfiguration": {"renditionSelection": "ALL", "renditions": []},
        "tags": {},
    }


def test_the_state_becomes_active_with_time(call: CallIvs, clock: FrozenClock) -> None:
    created = create(call)

    def states() -> set[str]:
        (listed,) = call("ListRecordingConfigurations")["recordingConfigurations"]
        found = call("GetRecordingConfiguration", arn=created["arn"])["recordingConfiguration"]
        return {created["state"], listed["state"], found["state"]}

    clock.at += CREATING_SECONDS - 0.1
    assert states() == {"CREATING"}
    clock.at += 0.1
    assert states() == {"CREATING", "ACTIVE"}


def test_a_list_shows_only_the_members_of_a_summary(call: CallIvs) -> None:
    create(call, name="mine")
    (listed,) = call("ListRecordingConfigurations")["recordingConfigurations"]
    assert set(listed) == {"arn", "name", "destinationConfiguration", "state", "tags"}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {"recordingMode": "INTERVAL", "targetIntervalSeconds": 60}),
        ({"recordingMode": "DISABLED"}, {"recordingMode": "DISABLED"}),
        ({"targetIntervalSeconds": 5}, {"recordingMode": "INTERVAL", "targetIntervalSeconds": 5}),
        ({"recordingMode": "INTERVAL", "targetIntervalSeconds": 1, "resolution": "HD", "storage": ["LATEST"]},) * 2,
    ],
)
def test_thumbnail_defaults_are_filled_in(call: CallIvs, given: dict[str, Any], stored: dict[str, Any]) -> None:
    expected = {"storage": ["SEQUENTIAL"], **stored}
    assert create(call, thumbnailConfiguration=given)["thumbnailConfiguration"] == expected


@pytest.mark.parametrize(
    ("request_", "at"),
    [
        (
            {"thumbnailConfiguration": {"recordingMode": "DISABLED", "targetIntervalSeconds": 9}},
            "targetIntervalSeconds",
        ),
        ({"thumbnailConfiguration": {"recordingMode": "INTERVAL"}}, "targetIntervalSeconds"),
        ({"thumbnailConfiguration": {"targetIntervalSeconds": 0}}, "targetIntervalSeconds"),
        ({"thumbnailConfiguration": {"targetIntervalSeconds": 61}}, "targetIntervalSeconds"),
        ({"renditionConfiguration": {"renditionSelection": "CUSTOM"}}, "renditions"),
        ({"renditionConfiguration": {"renditionSelection": "CUSTOM", "renditions": []}}, "renditions"),
        ({"renditionConfiguration": {"renditions": ["4K"]}}, "renditions"),
        ({"recordingReconnectWindowSeconds": 301}, "recordingReconnectWindowSeconds"),
        ({"destinationConfiguration": {}}, "destinationConfiguration"),
        ({"destinationConfiguration": {"s3": {"bucketName": "Up"}}}, "bucketName"),
    ],
)
def test_contradicting_members_are_rejected(call: CallIvs, request_: dict[str, Any], at: str) -> None:
    """API reference: an interval "only if recordingMode is INTERVAL" and required then; CUSTOM names its renditions."""
    with pytest.raises(IvsError, match=f"ValidationException.*{at}"):
        create(call, **request_)
    assert call("ListRecordingConfigurations") == {"recordingConfigurations": []}


def test_custom_renditions_are_stored(call: CallIvs) -> None:
    custom = {"renditionSelection": "CUSTOM", "renditions": ["HD", "LOWEST_RESOLUTION"]}
    assert create(call, renditionConfiguration=custom)["renditionConfiguration"] == custom


def test_quota_and_default_page_size_are_twenty(call: CallIvs) -> None:
    """Service Quotas: 20 recording configurations; API reference: "your service quota or 100, whichever is less"."""
    for _ in range(20):
        create(call)
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        create(call)
    page = call("ListRecordingConfigurations")
    assert len(page["recordingConfigurations"]) == 20
    assert "nextToken" not in page
