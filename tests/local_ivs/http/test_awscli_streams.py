"""AWS's own command line on the operations of streams: `aws ivs … --endpoint-url`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.local_ivs.http.own_servers import Staged, staged

pytestmark = pytest.mark.e2e

AWS = Path(sys.executable).with_name("aws")
MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/show"


def aws(stage: Staged, *arguments: str) -> Any:
    """What the command prints: JSON or nothing, and text where it fails."""
    done = subprocess.run(
        [sys.executable, AWS, "ivs", *arguments, "--endpoint-url", stage.url, "--region", "us-west-2"],
        env={"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "*", "AWS_PAGER": ""},
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        return done.stderr.decode()
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_commands_of_streams_work_as_their_examples_show_them() -> None:
    """The AWS CLI's examples of each command."""
    with staged() as stage:
        client = stage.client()
        configurations = [{"playbackConfigurationArn": MEDIATAILOR}]
        ads = client.create_ad_configuration(mediaTailorPlaybackConfigurations=configurations)["adConfiguration"]
        arn = client.create_channel(adConfigurationArn=ads["arn"])["channel"]["arn"]
        client.close()
        stream_id = stage.start_stream(arn)

        assert aws(stage, "get-stream", "--channel-arn", arn)["stream"]["streamId"] == stream_id
        query = ("--filter-by", "health=HEALTHY", "--query", "streams[].channelArn")
        assert aws(stage, "list-streams", *query) == [arn]
        metadata = '{"my": "metadata"}'
        assert aws(stage, "put-metadata", "--channel-arn", arn, "--metadata", metadata) is None
        given = json.dumps(
            {"channelArn": arn, "durationSeconds": 30}
        )  # the command's own model is older: no id, no time
        assert not isinstance(aws(stage, "insert-ad-break", "--cli-input-json", given), str)
        assert aws(stage, "stop-stream", "--channel-arn", arn) is None
        found = aws(stage, "get-stream-session", "--channel-arn", arn, "--stream-id", stream_id)["streamSession"]
        assert found["truncatedEvents"][0]["name"] == "Session Ended"
        pages = ("--max-results", "25", "--next-token", "")
        assert len(aws(stage, "list-stream-sessions", "--channel-arn", arn, *pages)["streamSessions"]) == 1
        assert "(ChannelNotBroadcasting)" in aws(stage, "get-stream", "--channel-arn", arn)
