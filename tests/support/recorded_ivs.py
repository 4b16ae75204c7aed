"""A local IVS with real rate limits that records every revocation request and its response."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import boto3
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support.servers import serving
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.revocations import revoked_version
from tokensvc.local_ivs.storage import SqliteResourceStore

SINGLE, BATCH = "StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"


class RecordedCall(NamedTuple):
    """One recorded request with its response."""

    at: float
    """On this machine's monotonic clock."""
    operation: str
    viewers: tuple[str, ...]
    status: int


class RecordedIvs:
    """Its address and its records."""

    def __init__(self, resources: SqliteResourceStore) -> None:
        self.url = ""
        self.management_url = ""
        self.calls: list[RecordedCall] = []
        self._resources = resources

    def channel(self) -> str:
        """Create a channel with boto3; return its ARN."""
        ivs = boto3.client(
            "ivs",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        arn = str(ivs.create_channel(authorized=True)["channel"]["arn"])
        ivs.close()
        return arn

    def revoked(self, channel: str, viewer: str) -> int:
        """The highest revoked version; negative if none was revoked."""
        with self._resources.begin(write=False) as transaction:
            return revoked_version(transaction, channel, viewer, until=math.inf)

    def delivered(self) -> Counter[str]:
        """How often each viewer was received and accepted."""
        return Counter(viewer for call in list(self.calls) if call.status == 200 for viewer in call.viewers)

    def throttled(self) -> int:
        """The number of throttled requests."""
        return sum(call.status == 429 for call in self.calls)

    def busiest_second(self, operation: str) -> int:
        """The highest number of requests of an operation in any second."""
        times = [call.at for call in self.calls if call.operation == operation]
        return max((sum(at <= other < at + 1 for other in times) for at in times), default=0)

    def record(self, site: ASGIApp) -> ASGIApp:
        """The same application, with its requests recorded."""

        async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
            operation = scope.get("path", "").strip("/")
            if operation not in (SINGLE, BATCH):
                return await site(scope, receive, send)
            at, body = time.monotonic(), b""

            async def reading() -> Message:
                nonlocal body
                message = await receive()
                body += message.get("body", b"")
                return message

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.calls.append(RecordedCall(at, operation, _viewers(json.loads(body)), message["status"]))
                await send(message)

            return await site(scope, reading, sending)

        return recorded


def _viewers(request: Any) -> tuple[str, ...]:
    entries: Sequence[Any] = request.get("viewerSessions", [request])
    return tuple(entry["viewerId"] for entry in entries)


@contextlib.contextmanager
def recorded_ivs() -> Iterator[RecordedIvs]:
    """Run a recording local IVS while the block runs."""
    resources = SqliteResourceStore(":memory:")
    ivs = RecordedIvs(resources)
    parts = build(resources, LocalIvsSettings(), AdvanceableClock(SystemClock()))
    with serving(ivs.record(parts.site)) as ivs.url, serving(parts.management) as ivs.management_url:
        yield ivs
    resources.close()
