"""IVS's rate limits over HTTP: on by default, seen by boto3 as ThrottlingException, refilled by the advanced clock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.http.local_ivs_server import local_ivs_server

pytestmark = pytest.mark.slow


def test_metadata_is_throttled_until_the_clock_is_advanced() -> None:
    with local_ivs_server(rate_limits=True) as server:
        client = server.client()
        channel = client.create_channel()["channel"]["arn"]
        server.start_stream(channel)

        def put_until_throttled() -> Any:
            for _ in range(20):
                client.put_metadata(channelArn=channel, metadata="x")

        with pytest.raises(client.exceptions.ThrottlingException) as throttled:
            put_until_throttled()
        response = throttled.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
        expected = f"Operation: ivs:PutMetadata exceeded call rate: 5 for resource: {channel}"
        assert response["Error"]["Message"].startswith(expected)
        assert "--no-rate-limits" in response["Error"]["Message"]
        assert server.manage("POST", "/clock", {"advanceSeconds": 1}).status == 200
        for _ in range(5):
            client.put_metadata(channelArn=channel, metadata="x")
        client.close()


def test_boto3s_retries_succeed() -> None:
    with local_ivs_server(rate_limits=True) as server:
        client = server.client(attempts=5)
        created = {client.create_channel()["channel"]["arn"] for _ in range(8)}
        client.close()
        assert len(created) == 8
