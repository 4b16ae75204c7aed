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

from tests.local_ivs.environment import FrozenClock
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


class SharedServer(NamedTuple):
    """A running server, and the local IVS behind it."""

    base_url: str
    endpoint_url: str
    resources: SqliteResourceStore
    components: LocalIvsComponents

    def client(
        self, access_key: str = "test", secret: str | None = None, region: str = "us-west-2", *, checks: bool = True
    ) -> Any:
        """An unmodified boto3 client. Without its own `checks` it sends invalid requests too."""
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


def mounted(prefix: str, components: LocalIvsComponents) -> ASGIApp:
    """At the root the whole listener is the local IVS; with a prefix it is mounted beside other routes."""
    if not prefix:
        return components.site
    return Starlette(routes=routes(components, prefix))


@pytest.fixture(scope="session", params=["", "/ivs"], ids=["root", "ivs"])
def shared_server(request: pytest.FixtureRequest) -> Iterator[SharedServer]:
    """One server for the test session. Each test uses its own channels, and `empty_account` if it counts them."""
    prefix = str(request.param)
    resources = SqliteResourceStore(":memory:")
    components = build(
        resources, LocalIvsSettings(CREDENTIALS, prefix, rate_limits=False), AdvanceableClock(SystemClock())
    )
    with serving(mounted(prefix, components)) as base_url:
        yield SharedServer(base_url, base_url + prefix, resources, components)
    resources.close()


@pytest.fixture(scope="session")
def client(shared_server: SharedServer) -> Iterator[Any]:
    created = shared_server.client()
    yield created
    created.close()


@pytest.fixture(scope="session")
def unvalidated_client(shared_server: SharedServer) -> Iterator[Any]:
    """A client that sends requests which boto3 would otherwise reject."""
    created = shared_server.client(checks=False)
    yield created
    created.close()


@pytest.fixture
def empty_account(client: Any) -> None:
    """Delete what earlier tests left in the first account and region."""
    for page in client.get_paginator("list_channels").paginate():
        for channel in page["channels"]:
            with contextlib.suppress(client.exceptions.ChannelNotBroadcasting):
                client.stop_stream(channelArn=channel["arn"])
            client.delete_channel(arn=channel["arn"])
    for pair in client.list_playback_key_pairs()["keyPairs"]:
        client.delete_playback_key_pair(arn=pair["arn"])


@pytest.fixture
def frozen_clock() -> FrozenClock:
    return FrozenClock()
