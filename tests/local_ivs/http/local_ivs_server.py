"""A local IVS for a single test: API, edge and management listener on real sockets, with a database of choice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from tests.local_ivs.http.signed_requests import Reply, send
from tests.support.servers import serving
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.http import LocalIvsComponents, LocalIvsSettings, build, stored_clock
from tokensvc.local_ivs.storage import SqliteResourceStore


class LocalIvsServer(NamedTuple):
    """The URLs of the servers, and the objects behind them."""

    url: str
    management_url: str
    components: LocalIvsComponents
    resources: SqliteResourceStore

    def client(self, attempts: int = 1, read_timeout: float = 10) -> Any:
        """An unmodified boto3 client, which the caller closes."""
        return boto3.client(
            "ivs",
            region_name="us-west-2",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(
                retries={"total_max_attempts": attempts, "mode": "standard"},
                connect_timeout=5,
                read_timeout=read_timeout,
                max_pool_connections=10,
            ),
        )

    def manage(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request to the management listener."""
        data = b"" if body is None else json.dumps(body).encode()
        return send(method, self.management_url + path, data, sign=False)

    def start_stream(self, channel_arn: str) -> str:
        """Start a stream on a channel, as a user does."""
        reply = self.manage("POST", "/streams/start", {"channelArn": channel_arn})
        assert reply.status == 201, reply
        return str(reply.json()["streamId"])


@contextlib.contextmanager
def local_ivs_server(database: str = ":memory:", *, rate_limits: bool = False) -> Iterator[LocalIvsServer]:
    """Run the servers for the duration of the block."""
    resources = SqliteResourceStore(database)
    components = build(resources, LocalIvsSettings(rate_limits=rate_limits), stored_clock(resources, SystemClock()))
    with serving(components.site) as url, serving(components.management) as management_url:
        try:
            yield LocalIvsServer(url, management_url, components, resources)
        finally:
            components.closing.set()
    resources.close()
