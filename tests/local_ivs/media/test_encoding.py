"""Segments play from their first packet on, one by one and in a row, for FFmpeg's own reader."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tokensvc.local_ivs.media.encoding import LIVE, Sound, encode
from tokensvc.local_ivs.media.test_card import FRAME_RATE, ColourBars, Size
from tokensvc.local_ivs.media.transport_stream import PACKET_BYTES, codecs

SIZE = Size(426, 240)
SECONDS = 6
FFPROBE = shutil.which("ffprobe")
needs_ffprobe = pytest.mark.skipif(FFPROBE is None, reason="ffprobe is not installed")


@pytest.fixture(scope="module")
def segments() -> list[bytes]:
    picture = ColourBars("LOCAL IVS", "240p30", SIZE)
    return encode(picture, SIZE, SECONDS, sound=Sound.TONE, quality=LIVE, progress=lambda _: None)


def pid(segment: bytes, number: int) -> int:
    return int.from_bytes(segment[number * PACKET_BYTES + 1 : number * PACKET_BYTES + 3]) & 0x1FFF


def probe(folder: Path, data: bytes, *show: str) -> dict[str, list[dict[str, str]]]:
    (folder / "media.ts").write_bytes(data)
    assert FFPROBE is not None
    command = [FFPROBE, "-v", "error", *show, "-of", "json", "media.ts"]
    probed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(probed.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_two_seconds_are_one_segment(segments: list[bytes]) -> None:
    assert len(segments) == SECONDS // 2


def test_each_segment_begins_with_its_tables(segments: list[bytes]) -> None:
    for segment in segments:
        assert [pid(segment, 0), pid(segment, 1)] == [0, 0x1000]
        assert all(segment[start] == 0x47 for start in range(0, len(segment), PACKET_BYTES))


def test_each_segment_alone_decodes_to_its_pictures(segments: list[bytes]) -> None:
    for segment in segments:
        with av.open(io.BytesIO(segment), "r", format="mpegts") as container:
            pictures = list(container.decode(video=0))
        assert len(pictures) == 2 * FRAME_RATE
        assert pictures[0].key_frame
        assert not any(picture.key_frame for picture in pictures[1:])


def test_timestamps_and_continuity_counters_run_on_from_one_segment_to_the_next(segments: list[bytes]) -> None:
    with av.open(io.BytesIO(b"".join(segments)), "r", format="mpegts") as container:
        times = [picture.pts for picture in container.decode(video=0) if picture.pts is not None]
    assert {later - earlier for earlier, later in pairwise(times)} == {90_000 // FRAME_RATE}
    counters: dict[int, int] = {}
    for number in range(len(data := b"".join(segments)) // PACKET_BYTES):
        flags = data[number * PACKET_BYTES + 3]
        if flags & 0x10:  # a packet without payload repeats the counter
            current = counters.get(pid(data, number))
            assert current is None or flags & 0xF == (current + 1) % 16
            counters[pid(data, number)] = flags & 0xF


def test_the_tone_sounds_at_the_beginning_of_each_second(segments: list[bytes]) -> None:
    with av.open(io.BytesIO(b"".join(segments)), "r", format="mpegts") as container:
        loud = [
            frame.pts % 90_000 / 90_000
            for frame in container.decode(audio=0)
            if frame.pts is not None and max(memoryview(bytes(frame.planes[0])).cast("f")) > 0.1
        ]
    assert len(loud) > SECONDS
    assert max(loud) < 0.2


def test_the_codecs_are_named_after_profile_and_level(segments: list[bytes]) -> None:
    assert codecs(segments[0]) == "avc1.4D4015,mp4a.40.2"


@pytest.mark.slow
@needs_ffprobe
def test_ffprobe_reads_picture_sound_and_metadata_of_each_segment(segments: list[bytes], tmp_path: Path) -> None:
    for segment in segments:
        streams = probe(tmp_path, segment, "-show_streams", "-count_frames")["streams"]
        assert [stream["codec_name"] for stream in streams] == ["h264", "aac", "timed_id3"]
        assert streams[0]["profile"] == "Main"
        assert f"{streams[0]['width']}x{streams[0]['height']}" == "426x240"
        assert streams[0]["nb_read_frames"] == str(2 * FRAME_RATE)
        assert streams[0]["color_space"] == "bt709"
        assert float(streams[0]["duration"]) == pytest.approx(2)
