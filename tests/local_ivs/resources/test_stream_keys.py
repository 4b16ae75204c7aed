"""A channel has one stream key."""

from __future__ import annotations

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import OTHER_ACCOUNT
from tokensvc.local_ivs.errors import IvsError


def test_a_second_stream_key_exceeds_the_quota(call: CallIvs) -> None:
    channel = call("CreateChannel")["channel"]
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        call("CreateStreamKey", channelArn=channel["arn"])


def test_a_deleted_stream_key_can_be_replaced_by_a_new_one(call: CallIvs) -> None:
    created = call("CreateChannel")
    channel, old = created["channel"], created["streamKey"]
    assert call("DeleteStreamKey", arn=old["arn"]) == {}
    assert call("ListStreamKeys", channelArn=channel["arn"]) == {"streamKeys": []}

    new = call("CreateStreamKey", channelArn=channel["arn"], tags={"for": "encoder"})["streamKey"]
    assert new["value"] != old["value"]
    assert new["tags"] == {"for": "encoder"}
    assert call("ListStreamKeys", channelArn=channel["arn"]) == {
        "streamKeys": [{"arn": new["arn"], "channelArn": channel["arn"], "tags": {"for": "encoder"}}]
    }


def test_a_list_does_not_show_values(call: CallIvs) -> None:
    channel = call("CreateChannel")["channel"]
    (summary,) = call("ListStreamKeys", channelArn=channel["arn"])["streamKeys"]
    assert "value" not in summary


@pytest.mark.parametrize("operation", ["CreateStreamKey", "ListStreamKeys"])
def test_the_channel_must_exist_in_the_account_and_region(call: CallIvs, operation: str) -> None:
    channel = call("CreateChannel")["channel"]
    with pytest.raises(IvsError, match="ResourceNotFoundException"):
        call(operation, OTHER_ACCOUNT, channelArn=channel["arn"])
