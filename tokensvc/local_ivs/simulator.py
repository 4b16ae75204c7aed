"""A stream source without an encoder: streams start, starve and stop on command.

The management listener uses it, and `tokensvc demo` starts its channel's stream with it. Each method is one
transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tokensvc.clock import Clock
from tokensvc.local_ivs.errors import not_broadcasting, not_found, quota_exceeded
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.resource_store import Resource, ResourceStore
from tokensvc.local_ivs.streams import lifecycle
from tokensvc.local_ivs.streams.ingest import DEFAULT_INGEST
from tokensvc.local_ivs.transaction import TxContext

PrepareMedia = Callable[[str, str], object]
"""Called with the ARN and the name of each channel that goes live."""


def prepare_nothing(channel_arn: str, channel_name: str) -> None:
    """For channels whose media need no preparation."""


class Simulator:
    """`local_ivs.live_streams.StreamSource`, controlled by method calls."""

    def __init__(
        self,
        resources: ResourceStore,
        clock: Clock,
        random_string: RandomString,
        prepare_media: PrepareMedia = prepare_nothing,
    ) -> None:
        self._resources = resources
        self._clock = clock
        self._random_string = random_string
        self._prepare_media = prepare_media

    def start(self, channel_arn: str, ingest: Mapping[str, Any] | None = None) -> str:
        """Start a stream and return its id. Raises IvsError if the channel does not exist or is live, or if too many
        streams are live."""
        with self._transaction() as context:
            stream = lifecycle.start(context, _channel(context, channel_arn), ingest or DEFAULT_INGEST)
        if stream is None:
            raise quota_exceeded(f"The quota is reached: {lifecycle.MAX_CONCURRENT_STREAMS} concurrent streams")
        self._prepare_media(channel_arn, stream.body["channelName"])
        return str(stream.body["streamId"])

    def stop(self, channel_arn: str) -> None:
        with self._transaction() as context:
            lifecycle.stop(context, _stream(context, channel_arn))

    def set_health(self, channel_arn: str, health: str) -> None:
        with self._transaction() as context:
            lifecycle.set_health(context, _stream(context, channel_arn), health)

    def set_ingest(self, channel_arn: str, ingest: Mapping[str, Any]) -> None:
        with self._transaction() as context:
            lifecycle.set_ingest(context, _stream(context, channel_arn), ingest)

    def set_viewers(self, channel_arn: str, count: int) -> None:
        with self._transaction() as context:
            lifecycle.update(context, _stream(context, channel_arn), viewers=count)

    @contextmanager
    def _transaction(self) -> Iterator[TxContext]:
        with self._resources.begin(write=True) as transaction:
            yield TxContext(transaction, self._clock.now(), self._random_string)


def _channel(context: TxContext, channel_arn: str) -> Resource:
    channel = context.transaction.get(channel_arn)
    if channel is None or channel.kind != "channel":
        raise not_found(channel_arn)
    return channel


def _stream(context: TxContext, channel_arn: str) -> Resource:
    stream = stream_of(context.transaction, _channel(context, channel_arn).arn)
    if stream is None:
        raise not_broadcasting(channel_arn)
    return stream
