"""What the tests of clients share: a demo for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.demo import Demo, running_demo
from tests.support.http_client import Client
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`tokensvc demo`, in an empty folder, on a free port."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        look_up_channel(running)
        yield running


def look_up_channel(demo: Demo) -> None:
    """Have the service look up the channel's playback URL, for which a token request waits two seconds at most."""
    with Client(demo.info["url"], demo.info["apiKey"]) as client:
        fields = {"channelArn": demo.info["channelArn"], "requirePlaybackUrl": True}
        wait_until(lambda: client.request_token(**fields).status == 201, "the service knows the channel")
