"""PutMetadata reaches the segment of its time, and is not stored for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, START, FrozenClock, all_stored, counting_strings
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.transport_stream import TimedMetadata
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams.timed_metadata import RETENTION_SECONDS, metadata_of, put
from tokensvc.local_ivs.transaction import TxContext

pytestmark = pytest.mark.slow

FIRST = int(START) // SEGMENT_SECONDS


def metadata(resources: SqliteResourceStore, channel: str, number: int) -> list[TimedMetadata]:
    with resources.begin(write=False) as transaction:
        stream = stream_of(transaction, channel)
        assert stream is not None
        return metadata_of(transaction, stream, number)


def test_metadata_is_in_the_segment_of_its_time_in_order(
    call: CallIvs, source: Simulator, channel: str, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    source.start(channel)
    for seconds, text in ((0.0, "a"), (0.5, "c"), (0.5, "b"), (1.9, "d"), (2.0, "e"), (5.0, "f")):
        clock.at = START + seconds
        call("PutMetadata", channelArn=channel, metadata=text)
    found = [metadata(resources, channel, FIRST + number) for number in range(4)]
    assert [[item.text for item in items] for items in found] == [["a", "c", "b", "d"], ["e"], ["f"], []]
    assert [round(item.offset_seconds, 3) for item in found[0]] == [0, 0.5, 0.5, 1.9]
    assert [item.offset_seconds for item in found[2]] == [1.0]


def test_metadata_of_one_channel_is_not_in_another(
    call: CallIvs, source: Simulator, channel: str, resources: SqliteResourceStore
) -> None:
    other = str(call("CreateChannel")["channel"]["arn"])
    for arn in (channel, other):
        source.start(arn)
    call("PutMetadata", channelArn=channel, metadata="of the first")
    assert len(metadata(resources, channel, FIRST)) == 1
    assert metadata(resources, other, FIRST) == []
    source.stop(other)
    assert len(metadata(resources, channel, FIRST)) == 1


def test_old_metadata_is_deleted_when_new_metadata_is_put(
    call: CallIvs, source: Simulator, channel: str, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    source.start(channel)
    for number in range(5):
        call("PutMetadata", channelArn=channel, metadata=f"old {number}")
    clock.at += RETENTION_SECONDS - 1
    call("PutMetadata", channelArn=channel, metadata="new")
    assert "old 0" in str(all_stored(resources))
    clock.at += 1
    call("PutMetadata", channelArn=channel, metadata="newest")
    assert "old " not in str(all_stored(resources))
    assert "newest" in str(all_stored(resources))


@given(st.lists(st.floats(0, 20), max_size=30))
def test_every_item_is_in_exactly_one_segment(offsets: list[float]) -> None:
    resources, strings = SqliteResourceStore(":memory:"), counting_strings()
    stream = Resource("channel/stream", HERE, "stream", "channel", "", {}, START)
    with resources.begin(write=True) as transaction:
        for number, offset in enumerate(sorted(offsets)):
            put(TxContext(transaction, START + offset, strings), stream, str(number))
        found = [metadata_of(transaction, stream, FIRST + number) for number in range(11)]
    assert [int(item.text) for items in found for item in items] == list(range(len(offsets)))
    assert all(0 <= item.offset_seconds < SEGMENT_SECONDS for items in found for item in items)
    resources.close()
