"""A test of an app whose channels are in a seed file."""

from __future__ import annotations

from typing import Any

import pytest

from tokensvc.testing.account import IvsAccount


@pytest.mark.parametrize("number", range(2))
def test_each_account_has_the_channels_of_the_file(ivs_account: IvsAccount, ivs_client: Any, number: int) -> None:
    main = ivs_account.channel("main")
    assert ivs_client.get_channel(arn=main.arn)["channel"]["authorized"]
    ivs_client.stop_stream(channelArn=main.arn)
    ivs_client.delete_channel(arn=main.arn)
    with pytest.raises(LookupError, match="has no channel 'main'"):
        ivs_account.channel("main")
