"""A source of streams without an encoder: streams start, starve and end because somebody says so.

It is what stands behind the management listener and what `tokensvc demo` starts its channel's stream with.
`local_ivs.stream_store.StreamSource` says what a source does; each step here is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tokensvc.clock import Clock
from tokensvc.local_ivs.errors import not_broadcasting, not_found, quota_exceeded
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.resource_store import Resource, ResourceStore
from tokensvc.local_ivs.streams import lifecycle
from tokensvc.local_ivs.streams.ingest import DEFAULT_INGEST
from tokensvc.local_ivs.streams.live_streams import stream_of
from tokensvc.local_ivs.transaction import TxContext


class Simulator:
    """`local_ivs.stream_store.StreamSource`, told by hand."""

    def __init__(self, resources: ResourceStore, clock: Clock, token: RandomString) -> None:
        self._resources = resources
        self._clock = clock
        self._token = token

    def start(self, channel_arn: str, ingest: Mapping[str, Any] | None = None) -> str:
        """The channel goes live. Raises IvsError when there is no such channel, it is live, or too many are."""
        with self._moment() as moment:
            stream = lifecycle.start(moment, _channel(moment, channel_arn), ingest or DEFAULT_INGEST)
        if stream is None:
            raise quota_exceeded(f"The quota is reached: {lifecycle.CONCURRENT_STREAMS} concurrent streams")
        return str(stream.body["streamId"])

    def stop(self, channel_arn: str) -> None:
        with self._moment() as moment:
            lifecycle.stop(moment, _stream(moment, channel_arn))

    def set_health(self, channel_arn: str, health: str) -> None:
        with self._moment() as moment:
            lifecycle.set_health(moment, _stream(moment, channel_arn), health)

    def set_ingest(self, channel_arn: str, ingest: Mapping[str, Any]) -> None:
        with self._moment() as moment:
            lifecycle.set_ingest(moment, _stream(moment, channel_arn), ingest)

    def set_viewers(self, channel_arn: str, count: int) -> None:
        with self._moment() as moment:
            lifecycle.update(moment, _stream(moment, channel_arn), viewers=count)

    @contextmanager
    def _moment(self) -> Iterator[TxContext]:
        with self._resources.begin(write=True) as transaction:
            yield TxContext(transaction, self._clock.now(), self._token)


def _channel(moment: TxContext, channel_arn: str) -> Resource:
    found = moment.transaction.get(channel_arn)
    if found is None or found.kind != "channel":
        raise not_found(channel_arn)
    return found


def _stream(moment: TxContext, channel_arn: str) -> Resource:
    stream = stream_of(moment.transaction, _channel(moment, channel_arn).arn)
    if stream is None:
        raise not_broadcasting(channel_arn)
    return stream
