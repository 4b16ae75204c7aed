"""AWS's own command line with the stream operations: `aws ivs … --endpoint-url`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server

pytestmark = pytest.mark.e2e

AWS = Path(sys.executable).with_name("aws")
MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/show"


def aws(server: LocalIvsServer, *arguments: str) -> Any:
    """The output of the command: JSON or None, or the text of its error."""
    done = subprocess.run(
        [sys.executable, AWS, "ivs", *arguments, "--endpoint-url", server.url, "--region", "us-west-2"],
        env={"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "*", "AWS_PAGER": ""},
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        return done.stderr.decode()
    return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.mark.long
def test_stream_commands_work_as_in_the_aws_clis_examples() -> None:
    """The AWS CLI's examples of each command."""
    with local_ivs_server() as server:
        client = server.client()
        configurations = [{"playbackConfigurationArn": MEDIATAILOR}]
        ads = client.create_ad_configuration(mediaTailorPlaybackConfigurations=configurations)["adConfiguration"]
        arn = client.create_channel(adConfigurationArn=ads["arn"])["channel"]["arn"]
        client.close()
        stream_id = server.start_stream(arn)

        assert aws(server, "get-stream", "--channel-arn", arn)["stream"]["streamId"] == stream_id
        query = ("--filter-by", "health=HEALTHY", "--query", "streams[].channelArn")
        assert aws(server, "list-streams", *query) == [arn]
        metadata = '{"my": "metadata"}'
        assert aws(server, "put-metadata", "--channel-arn", arn, "--metadata", metadata) is None
        given = json.dumps({"channelArn": arn, "durationSeconds": 30})  # the CLI's own model is older: no id, no time
        assert not isinstance(aws(server, "insert-ad-break", "--cli-input-json", given), str)
        assert aws(server, "stop-stream", "--channel-arn", arn) is None
        found = aws(server, "get-stream-session", "--channel-arn", arn, "--stream-id", stream_id)["streamSession"]
        assert found["truncatedEvents"][0]["name"] == "Session Ended"
        pages = ("--max-results", "25", "--next-token", "")
        assert len(aws(server, "list-stream-sessions", "--channel-arn", arn, *pages)["streamSessions"]) == 1
        assert "(ChannelNotBroadcasting)" in aws(server, "get-stream", "--channel-arn", arn)
