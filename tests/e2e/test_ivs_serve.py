"""`tokensvc ivs serve` as a user starts it: rate limits, streams, events and faults."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError

from tests.support.http_client import Client, fetch
from tests.support.processes import TOKENSVC, Process, environment, started


class Served(NamedTuple):
    """A local IVS that runs alone."""

    process: Process
    info: dict[str, str]
    client: Any

    def manage(self, path: str, **body: Any) -> int:
        with Client(self.info["managementUrl"]) as management:
            return management.request("POST", path, json.dumps(body)).status


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Iterator[Served]:
    info_file = folder / "info.json"
    arguments = [TOKENSVC, "ivs", "serve", "--port", "0", "--info-file", str(info_file), *options]
    with started(arguments, folder, environment(folder / "home"), "ivs") as process:
        process.wait_until(info_file.exists, "the local IVS writes its connection info")
        info = json.loads(info_file.read_text())
        client = boto3.client(
            "ivs",
            region_name=info["region"],
            endpoint_url=info["ivsEndpoint"],
            aws_access_key_id=info["accessKeyId"],
            aws_secret_access_key=info["secretAccessKey"],
            config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
        )
        yield Served(process, info, client)
        client.close()


def test_rate_limits_and_regions_apply_unless_disabled_and_streams_survive_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as ivs:
        assert "--no-rate-limits turns them off" in ivs.process.err
        assert "seconds ahead" not in ivs.process.err
        assert ivs.manage("/clock", advanceSeconds=60) == 200
        channel = ivs.client.create_channel()["channel"]
        assert fetch(channel["playbackUrl"]).status == 404
        assert ivs.manage("/streams/start", channelArn=channel["arn"]) == 201
        assert fetch(channel["playbackUrl"]).status == 200
        before = ivs.client.get_stream(channelArn=channel["arn"])["stream"]
        with pytest.raises(ivs.client.exceptions.ThrottlingException):
            deque((ivs.client.list_channels() for _ in range(100)), maxlen=0)
    with served(tmp_path, "--no-rate-limits", "--any-region") as ivs:
        other_region = boto3.client(
            "ivs",
            region_name="mars-north-9",
            endpoint_url=ivs.info["ivsEndpoint"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        assert other_region.create_channel()["channel"]["arn"].startswith("arn:aws:ivs:mars-north-9:")
        other_region.close()
        assert "rate limits are off" in ivs.process.err
        assert "clock is 60 seconds ahead" in ivs.process.err
        for _ in range(100):
            (after,) = ivs.client.list_streams()["streams"]
        assert (after["streamId"], after["startTime"]) == (before["streamId"], before["startTime"])


def test_a_dropped_connection_and_an_event_listener_at_shutdown(tmp_path: Path) -> None:
    with served(tmp_path, "--memory", "--no-rate-limits") as ivs:
        assert ivs.manage("/faults", kind="drop-after", operation="CreateChannel", count=1) == 201
        with pytest.raises(ConnectionClosedError):
            ivs.client.create_channel()
        (channel,) = ivs.client.list_channels()["channels"]
        listener = http.client.HTTPConnection(urlsplit(ivs.info["managementUrl"]).netloc, timeout=5)
        listener.request("GET", "/events")
        events = listener.getresponse()
        assert ivs.manage("/streams/start", channelArn=channel["arn"]) == 201
        ivs.process.send(SIGINT)
        assert ivs.process.wait_for_exit(within_seconds=10) == 0
        assert b"Stream Start" in events.read()
        listener.close()
        assert "Traceback" not in ivs.process.err
