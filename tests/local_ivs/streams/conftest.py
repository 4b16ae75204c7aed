"""What the tests of streams share."""

from __future__ import annotations

import pytest

from tests.local_ivs.conftest import CallIvs


@pytest.fixture
def channel(call: CallIvs) -> str:
    """The ARN of a channel."""
    return str(call("CreateChannel", name="show")["channel"]["arn"])
