"""Timed metadata arrives in a segment at its time, in order, and changes nothing else in it."""

from __future__ import annotations

import binascii
import io
import json
import shutil
import subprocess
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokensvc.local_ivs.media.id3 import text_tag
from tokensvc.local_ivs.media.ready_made import RENDITION, ReadyMadeLoop
from tokensvc.local_ivs.media.transport_stream import (
    PACKET_BYTES,
    TICKS_PER_SECOND,
    TimedMetadata,
    crc32,
    mark_discontinuity,
    with_metadata,
)

pytestmark = pytest.mark.slow

SEGMENT = ReadyMadeLoop().segment(RENDITION.name, 0)
METADATA_PID = 0x1F0
FFPROBE = shutil.which("ffprobe")
ITEMS = st.lists(
    st.builds(TimedMetadata, st.floats(0, 2, exclude_max=True), st.text(min_size=1, max_size=1024)), max_size=10
)


def packets(segment: bytes) -> list[bytes]:
    return [segment[start : start + PACKET_BYTES] for start in range(0, len(segment), PACKET_BYTES)]


def pid(packet: bytes) -> int:
    return int.from_bytes(packet[1:3]) & 0x1FFF


def timed_metadata(segment: bytes) -> list[tuple[float, bytes]]:
    """(seconds from the first picture, tag) as FFmpeg reads them."""
    read = decoded(segment)
    first = next(pts for kind, pts, _ in read if kind == "video")
    return [((pts - first) / TICKS_PER_SECOND, data) for kind, pts, data in read if kind == "data"]


def decoded(segment: bytes) -> list[tuple[str, int, bytes]]:
    """(kind, time, data) of each packet, as FFmpeg reads them."""
    with av.open(io.BytesIO(segment), "r", format="mpegts") as container:
        return [(packet.stream.type, packet.pts or 0, bytes(packet)) for packet in container.demux() if packet.size]


@settings(max_examples=30, deadline=None)
@given(ITEMS)
def test_items_are_read_at_their_times_in_order(items: list[TimedMetadata]) -> None:
    expected = sorted(items, key=lambda item: item.offset_seconds)
    read = timed_metadata(with_metadata(SEGMENT, items))
    assert [tag for _, tag in read] == [text_tag(item.text) for item in expected]
    assert [offset for offset, _ in read] == pytest.approx([item.offset_seconds for item in expected], abs=1e-5)


@settings(max_examples=100)
@given(ITEMS)
def test_the_other_packets_stay_and_continuity_counters_run_on(items: list[TimedMetadata]) -> None:
    output = packets(with_metadata(SEGMENT, items))
    assert [packet for packet in output if pid(packet) != METADATA_PID] == packets(SEGMENT)
    inserted = [packet for packet in output if pid(packet) == METADATA_PID]
    assert [packet[3] & 0xF for packet in inserted] == [number % 16 for number in range(len(inserted))]
    assert all(len(packet) == PACKET_BYTES for packet in output)
    has_discontinuity = [bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x80) for packet in inserted]
    assert has_discontinuity == [number == 0 for number in range(len(inserted))]


def test_an_item_of_any_length_fills_its_packets() -> None:
    """Among them are those that leave one byte, which is an adaptation field without flags, and none."""
    for length in range(2 * PACKET_BYTES):
        text = "x" * length
        output = packets(with_metadata(SEGMENT, [TimedMetadata(0.5, text)]))
        data = b"".join(payload(packet) for packet in output if pid(packet) == METADATA_PID)
        assert data.endswith(text_tag(text))
        assert int.from_bytes(data[4:6]) == len(data) - 6


def payload(packet: bytes) -> bytes:
    assert len(packet) == PACKET_BYTES
    return packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]


def test_an_item_precedes_the_pictures_that_come_after_it() -> None:
    output = packets(with_metadata(SEGMENT, [TimedMetadata(1.0, "middle")]))
    place = next(number for number, packet in enumerate(output) if pid(packet) == METADATA_PID)
    before, after = b"".join(output[:place]), b"".join(output[place:])
    assert before.count(b"\x00\x00\x01\xe0") == after.count(b"\x00\x00\x01\xe0") == 30


def test_the_crc_is_that_of_mpeg_2() -> None:
    assert crc32(b"123456789") == 0x0376E6E7


def test_a_declared_stream_without_items_is_listed_and_empty() -> None:
    with av.open(io.BytesIO(SEGMENT), "r", format="mpegts") as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "data"]
    assert timed_metadata(SEGMENT) == []


def payload_counters(data: bytes) -> dict[int, list[tuple[int, bool, bool]]]:
    """PID -> (continuity counter, has payload, has the discontinuity indicator) of each packet."""
    found: dict[int, list[tuple[int, bool, bool]]] = {}
    for packet in packets(data):
        indicator = bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x80)
        found.setdefault(pid(packet), []).append((packet[3] & 0xF, bool(packet[3] & 0x10), indicator))
    return found


@pytest.mark.parametrize("items", [[], [TimedMetadata(0.5, "text")]])
def test_a_marked_segment_may_follow_any_other(items: list[TimedMetadata]) -> None:
    marked = mark_discontinuity(with_metadata(SEGMENT, items))
    for counters in payload_counters(marked + marked).values():
        expected: int | None = None
        for counter, has_payload, indicator in counters:
            if expected is not None and not indicator:
                assert counter == (expected if has_payload else expected - 1) % 16
            expected = counter + 1
    assert {pid for pid, [first, *_] in payload_counters(marked).items() if first[2]} == payload_counters(marked).keys()


def test_a_marked_segment_holds_the_same_and_begins_with_its_tables() -> None:
    marked = mark_discontinuity(SEGMENT)
    assert [pid(packet) for packet in packets(marked)[:2]] == [0, 0x1000]
    assert decoded(marked) == decoded(SEGMENT)


def test_a_stream_whose_first_packet_is_full_is_marked_by_a_packet_before_it() -> None:
    sound = next(pid(packet) for packet in packets(SEGMENT) if payload(packet)[:4] == b"\0\0\1\xc0")
    of_sound = [packet for packet in packets(SEGMENT) if pid(packet) == sound]
    full = next(number for number, packet in enumerate(of_sound) if packet[3] & 0x30 == 0x10)
    cut = b"".join(packet for packet in packets(SEGMENT) if packet not in of_sound[:full])
    marked = [packet for packet in packets(mark_discontinuity(cut)) if pid(packet) == sound]
    assert marked[1:] == [packet for packet in packets(cut) if pid(packet) == sound]
    assert marked[0][3] & 0x30 == 0x20
    assert marked[0][5] == 0x80
    assert (marked[0][3] + 1) % 16 == marked[1][3] & 0xF


@pytest.mark.skipif(FFPROBE is None, reason="ffprobe is not installed")
def test_ffprobe_finds_no_corrupt_packet_where_marked_segments_meet(tmp_path: Path) -> None:
    def complaints(data: bytes) -> str:
        (tmp_path / "media.ts").write_bytes(data)
        assert FFPROBE is not None
        command = [FFPROBE, "-v", "warning", "-show_packets", "media.ts"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stderr

    assert "corrupt" in complaints(SEGMENT * 3)
    assert "corrupt" not in complaints(mark_discontinuity(SEGMENT) * 3)


def test_no_items_leave_the_segment_as_it_is() -> None:
    assert with_metadata(SEGMENT, []) is SEGMENT


@pytest.mark.skipif(FFPROBE is None, reason="ffprobe is not installed")
def test_ffprobe_reads_the_items_of_a_segment(tmp_path: Path) -> None:
    (tmp_path / "segment.ts").write_bytes(
        with_metadata(SEGMENT, [TimedMetadata(0.5, "first"), TimedMetadata(1.5, "second")])
    )
    assert FFPROBE is not None
    show = ["-v", "error", "-select_streams", "d", "-show_streams", "-show_packets", "-show_data", "-of", "json"]
    probed = subprocess.run(
        [FFPROBE, *show, "segment.ts"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    report = json.loads(probed.stdout)
    assert [stream["codec_name"] for stream in report["streams"]] == ["timed_id3"]
    texts = [_bytes_of_dump(packet["data"]).split(b"\x03\x00")[1].decode() for packet in report["packets"]]
    assert texts == ["first", "second"]
    times = [float(packet["pts_time"]) for packet in report["packets"]]
    assert times[1] - times[0] == pytest.approx(1)


def _bytes_of_dump(dump: str) -> bytes:
    """FFmpeg before 7 leaves out the first five bytes of each packet of this type."""
    return b"".join(binascii.unhexlify(line[10:50].replace(" ", "")) for line in dump.strip().splitlines())
