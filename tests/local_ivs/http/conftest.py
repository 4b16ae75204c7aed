"""The local IVS behind a real socket: alone at the root, and beside other routes under /ivs, as `demo` mounts it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from starlette.applications import Starlette
from starlette.types import ASGIApp

from tests.local_ivs.environment import StandingClock
from tests.support.servers import serving
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsComponents, LocalIvsSettings, build, routes
from tokensvc.local_ivs.sigv4 import AccessKeySecret
from tokensvc.local_ivs.storage import SqliteResourceStore

CREDENTIALS = {
    "test": AccessKeySecret("test", "000000000000"),
    "other": AccessKeySecret("other-secret", "111122223333"),
}


class Running(NamedTuple):
    """A local IVS that is being served."""

    base_url: str
    endpoint_url: str
    resources: SqliteResourceStore
    parts: LocalIvsComponents

    def client(
        self, access_key: str = "test", secret: str | None = None, region: str = "us-west-2", *, checks: bool = True
    ) -> Any:
        """An unmodified boto3 client; without its own `checks`, whatever is asked for is sent."""
        return boto3.client(
            "ivs",
            region_name=region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret or CREDENTIALS[access_key].secret_access_key,
            config=Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                parameter_validation=checks,
                connect_timeout=5,
                read_timeout=10,
            ),
        )


def mounted(prefix: str, parts: LocalIvsComponents) -> ASGIApp:
    """At the root the whole listener is the local IVS; elsewhere it stands beside other routes."""
    if not prefix:
        return parts.site
    return Starlette(routes=routes(parts, prefix))


@pytest.fixture(scope="session", params=["", "/ivs"], ids=["root", "ivs"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """One server for the session; each test uses channels of its own, and `nothing_there` where it counts them."""
    prefix = str(request.param)
    resources = SqliteResourceStore(":memory:")
    parts = build(resources, LocalIvsSettings(CREDENTIALS, prefix, rate_limits=False), AdvanceableClock(SystemClock()))
    with serving(mounted(prefix, parts)) as base_url:
        yield Running(base_url, base_url + prefix, resources, parts)
    resources.close()


@pytest.fixture(scope="session")
def client(running: Running) -> Iterator[Any]:
    opened = running.client()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def unchecked(running: Running) -> Iterator[Any]:
    """A client that sends what boto3 itself would refuse."""
    opened = running.client(checks=False)
    yield opened
    opened.close()


@pytest.fixture
def nothing_there(client: Any) -> None:
    """Take away what earlier tests left in the first account and region."""
    for page in client.get_paginator("list_channels").paginate():
        for channel in page["channels"]:
            with contextlib.suppress(client.exceptions.ChannelNotBroadcasting):
                client.stop_stream(channelArn=channel["arn"])
            client.delete_channel(arn=channel["arn"])
    for pair in client.list_playback_key_pairs()["keyPairs"]:
        client.delete_playback_key_pair(arn=pair["arn"])


@pytest.fixture
def standing_clock() -> StandingClock:
    return StandingClock()
