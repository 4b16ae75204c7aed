"""IVS's rates over the wire: on by default, felt by boto3 as ThrottlingException, refilled by the advanced clock."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.http.own_servers import staged


def test_metadata_is_throttled_until_the_clock_goes_on() -> None:
    with staged(rate_limits=True) as stage:
        client = stage.client()
        channel = client.create_channel()["channel"]["arn"]
        stage.start_stream(channel)

        def put_until_throttled() -> Any:
            for _ in range(20):
                client.put_metadata(channelArn=channel, metadata="x")

        with pytest.raises(client.exceptions.ThrottlingException) as throttled:
            put_until_throttled()
        answer = throttled.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
        expected = f"Operation: ivs:PutMetadata exceeded call rate: 5 for resource: {channel}"
        assert answer["Error"]["Message"].startswith(expected)
        assert "--no-rate-limits" in answer["Error"]["Message"]
        assert stage.manage("POST", "/clock", {"advanceSeconds": 1}).status == 200
        for _ in range(5):
            client.put_metadata(channelArn=channel, metadata="x")
        client.close()


def test_boto3s_own_retries_get_through() -> None:
    with staged(rate_limits=True) as stage:
        client = stage.client(attempts=5)
        made = {client.create_channel()["channel"]["arn"] for _ in range(8)}
        client.close()
        assert len(made) == 8
