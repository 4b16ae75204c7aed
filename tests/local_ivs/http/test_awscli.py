"""`aws ivs …` on everything but streams, with the argument forms of the AWS CLI's reference and examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import xform_name

from tests.local_ivs.environment import OPERATIONS, pem
from tests.local_ivs.http.aws_cli import AwsCli, aws_cli
from tests.local_ivs.http.local_ivs_server import local_ivs_server

pytestmark = pytest.mark.slow

MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration"


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsCli]:
    with local_ivs_server() as server, aws_cli(server.url) as cli:
        yield cli


def test_channels(aws: AwsCli) -> None:
    created = aws(
        "create-channel", "--name", "test-channel", "--latency-mode", "NORMAL", "--type", "ADVANCED_HD", "--authorized",
        "--no-insecure-ingest", "--preset", "CONSTRAINED_BANDWIDTH_DELIVERY", "--tags", "key1=value1,key2=value2",
    ).json()  # fmt: skip
    channel = created["channel"]
    assert (channel["authorized"], channel["insecureIngest"], channel["tags"]) == (
        True,
        False,
        {"key1": "value1", "key2": "value2"},
    )
    multitrack = "enabled=true,maximumResolution=FULL_HD,policy=ALLOW"
    arguments = ("--multitrack-input-configuration", multitrack, "--container-format", "FRAGMENTED_MP4")
    assert aws("create-channel", "--name", "multi", *arguments).json()["channel"]["multitrackInputConfiguration"][
        "enabled"
    ]
    given = {"arn": channel["arn"], "name": "channel-1", "type": "STANDARD"}
    changed = aws("update-channel", "--cli-input-json", json.dumps(given), "--no-authorized").json()["channel"]
    assert (changed["name"], changed["authorized"], changed["preset"]) == ("channel-1", False, "")
    assert aws("get-channel", "--arn", channel["arn"], "--query", "channel.name").json() == "channel-1"
    assert (
        aws("get-channel", "--arn", channel["arn"], "--query", "channel.name", "--output", "text").out == "channel-1\n"
    )
    both = aws("batch-get-channel", "--arns", channel["arn"], channel["arn"][:-4] + "none").json()
    assert (len(both["channels"]), both["errors"][0]["code"]) == (1, "ResourceNotFoundException")
    assert len(aws("list-channels", "--page-size", "1").json()["channels"]) == 2
    first = aws("list-channels", "--max-items", "1").json()
    assert [c["name"] for c in first["channels"]] == ["channel-1"]
    rest = aws("list-channels", "--starting-token", first["NextToken"], "--query", "channels[].name").json()
    assert rest == ["multi"]
    assert aws("list-channels", "--filter-by-name", "multi", "--query", "length(channels)").json() == 1
    key = created["streamKey"]["arn"]
    assert aws("get-stream-key", "--arn", key).json()["streamKey"] == created["streamKey"]
    assert aws("batch-get-stream-key", "--arns", key).json()["streamKeys"] == [created["streamKey"]]
    assert aws("list-stream-keys", "--channel-arn", channel["arn"]).json()["streamKeys"][0]["arn"] == key
    assert aws("delete-stream-key", "--arn", key).json() is None
    assert aws("create-stream-key", "--channel-arn", channel["arn"], "--tags", "a=b").json()["streamKey"]["tags"] == {
        "a": "b"
    }
    assert aws("delete-channel", "--arn", channel["arn"]).json() is None
    missing = aws("get-channel", "--arn", channel["arn"])
    assert missing.code != 0
    assert (
        f"(ResourceNotFoundException) when calling the GetChannel operation: Resource: {channel['arn']}" in missing.err
    )


def test_key_pairs_and_tags(aws: AwsCli, tmp_path: Path) -> None:
    public = tmp_path / "public.pem"
    public.write_text(pem(1))
    arguments = ("--name", "my-playback-key", "--public-key-material", f"file://{public}")
    pair = aws("import-playback-key-pair", *arguments).json()["keyPair"]
    assert aws("get-playback-key-pair", "--arn", pair["arn"]).json()["keyPair"]["fingerprint"] == pair["fingerprint"]
    again = aws("import-playback-key-pair", *arguments)
    assert "(ConflictException)" in again.err
    tags = '{"größe/a b+c": "x=y@z/w", "plain": ""}'
    assert aws("tag-resource", "--resource-arn", pair["arn"], "--tags", tags).json() is None
    assert aws("untag-resource", "--resource-arn", pair["arn"], "--tag-keys", "plain", "missing").json() is None
    assert aws("list-tags-for-resource", "--resource-arn", pair["arn"]).json() == {"tags": {"größe/a b+c": "x=y@z/w"}}
    assert len(aws("list-playback-key-pairs").json()["keyPairs"]) == 1
    assert aws("delete-playback-key-pair", "--arn", pair["arn"]).json() is None


def test_viewer_sessions(aws: AwsCli) -> None:
    channel = aws("create-channel").json()["channel"]["arn"]
    viewer_arguments = ("--channel-arn", channel, "--viewer-id", "abcdefg")
    version = ("--viewer-session-versions-less-than-or-equal-to", "1234567890")
    assert aws("start-viewer-session-revocation", *viewer_arguments, *version).json() is None
    several = [f"channelArn={channel},viewerId=a{n},viewerSessionVersionsLessThanOrEqualTo={n}" for n in range(3)]
    assert aws("batch-start-viewer-session-revocation", "--viewer-sessions", *several).json() in (None, {})
    missing = [{"channelArn": channel[:-4] + "none", "viewerId": "v"}]
    response = aws("batch-start-viewer-session-revocation", "--viewer-sessions", json.dumps(missing)).json()
    assert response["errors"][0]["code"] == "ResourceNotFoundException"


def test_playback_restriction_policies(aws: AwsCli) -> None:
    list_arguments = (
        "--allowed-countries",
        "US",
        "MX",
        "--allowed-origins",
        "https://www.website1.com",
        "https://*.w2.com",
    )
    created = aws(
        "create-playback-restriction-policy", "--name", "one", *list_arguments, "--enable-strict-origin-enforcement"
    ).json()
    arn = created["playbackRestrictionPolicy"]["arn"]
    assert created["playbackRestrictionPolicy"]["allowedCountries"] == ["US", "MX"]
    aws("create-playback-restriction-policy", "--tags", '{"key1": "value1"}').json()
    changes = ("--arn", arn, "--allowed-countries", "[]", "--no-enable-strict-origin-enforcement")
    changed = aws("update-playback-restriction-policy", *changes).json()["playbackRestrictionPolicy"]
    assert (changed["allowedCountries"], changed["enableStrictOriginEnforcement"]) == ([], False)
    assert aws("get-playback-restriction-policy", "--arn", arn).json()["playbackRestrictionPolicy"] == changed
    page = aws("list-playback-restriction-policies", "--max-results", "1").json()
    assert len(page["playbackRestrictionPolicies"]) == 1
    arguments = ("--next-token", page["nextToken"], "--query", "playbackRestrictionPolicies[].tags")
    assert aws("list-playback-restriction-policies", *arguments).json() == [{"key1": "value1"}]
    assert aws("delete-playback-restriction-policy", "--arn", arn).json() is None


def test_recording_configurations(aws: AwsCli) -> None:
    thumbnails = 'recordingMode="INTERVAL",targetIntervalSeconds=1,storage="LATEST",resolution="LOWEST_RESOLUTION"'
    created = aws(
        "create-recording-configuration",
        *("--name", "test-recording-config", "--recording-reconnect-window-seconds", "60"),
        *("--tags", "key1=value1,key2=value2", "--thumbnail-configuration", thumbnails),
        *("--rendition-configuration", 'renditionSelection="CUSTOM",renditions="HD"'),
        *("--destination-configuration", "s3={bucketName=demo-recording-bucket}"),
    ).json()["recordingConfiguration"]
    assert created["state"] == "CREATING"
    assert created["renditionConfiguration"] == {"renditionSelection": "CUSTOM", "renditions": ["HD"]}
    assert created["thumbnailConfiguration"]["storage"] == ["LATEST"]
    assert (
        aws("get-recording-configuration", "--arn", created["arn"]).json()["recordingConfiguration"]["name"]
        == created["name"]
    )
    (listed,) = aws("list-recording-configurations").json()["recordingConfigurations"]
    assert listed["destinationConfiguration"] == {"s3": {"bucketName": "demo-recording-bucket"}}
    channel = aws("create-channel", "--recording-configuration-arn", created["arn"]).json()["channel"]["arn"]
    assert "(ConflictException)" in aws("delete-recording-configuration", "--arn", created["arn"]).err
    aws("update-channel", "--arn", channel, "--recording-configuration-arn", "").json()
    assert aws("delete-recording-configuration", "--arn", created["arn"]).json() is None


def test_ad_configurations(aws: AwsCli) -> None:
    shorthand = [f"playbackConfigurationArn={MEDIATAILOR}/{name}" for name in ("one", "two")]
    arguments = ("--name", "ads", "--post-roll-configuration", "enabled=true,durationSeconds=30")
    created = aws("create-ad-configuration", "--media-tailor-playback-configurations", *shorthand, *arguments).json()
    arn = created["adConfiguration"]["arn"]
    assert created["adConfiguration"]["postRollConfiguration"] == {"enabled": True, "durationSeconds": 30}
    as_json = json.dumps([{"playbackConfigurationArn": f"{MEDIATAILOR}/three"}])
    changed = aws("update-ad-configuration", "--arn", arn, "--media-tailor-playback-configurations", as_json).json()
    assert aws("get-ad-configuration", "--arn", arn).json() == changed
    assert aws("list-ad-configurations", "--page-size", "5").json()["adConfigurations"] == [changed["adConfiguration"]]
    assert aws("delete-ad-configuration", "--arn", arn).json() is None


def test_a_violation_that_only_the_service_detects_is_reported(aws: AwsCli) -> None:
    failed = aws("create-channel", "--type", "BASIC", "--preset", "HIGHER_BANDWIDTH_DELIVERY")
    assert failed.code != 0
    assert "(ValidationException) when calling the CreateChannel operation" in failed.err
    assert "Value at 'preset'" in failed.err


def test_every_command_of_the_aws_cli_is_tested(aws: AwsCli) -> None:
    """By name, in the text of the two modules. The CLI has a model of its own, which has no failover slates yet."""
    here = Path(__file__).read_text() + Path(__file__).with_name("test_awscli_streams.py").read_text()
    offered = re.findall(r"[a-z]+(?:-[a-z]+)+(?= *(?:\||\n))", aws("nothing").err.partition("valid choices are:")[2])
    assert {"create-channel", "get-stream", "update-playback-restriction-policy"} < set(offered)
    assert [command for command in offered if f'"{command}"' not in here] == []
    assert set(offered) <= {xform_name(name, "-") for name in OPERATIONS}
