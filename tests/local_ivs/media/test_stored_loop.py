"""A loop in a folder is complete or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tokensvc.local_ivs.media.loop import Rendition
from tokensvc.local_ivs.media.ready_made import RENDITION, ReadyMadeLoop
from tokensvc.local_ivs.media.stored_loop import EncodedRendition, encoded_rendition, open_loop, write_loop

HIGH = Rendition(1920, 1080, 30, 900_000, "avc1.4D4028,mp4a.40.2")
LOW = Rendition(852, 480, 30, 300_000, "avc1.4D401F,mp4a.40.2")
RENDITIONS = [EncodedRendition(HIGH, [b"high 0", b"high 1!"], b"high slate"), EncodedRendition(LOW, [b"a", b"b"], b"c")]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_loop_reads_as_it_was_written(cache: Path) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    loop = open_loop(cache, "media-1")
    assert loop is not None
    assert (loop.media_id, loop.renditions, loop.segments) == ("media-1", (HIGH, LOW), 2)
    assert [loop.segment("1080p30", position) for position in range(2)] == [b"high 0", b"high 1!"]
    assert (loop.slate("1080p30"), loop.segment("480p30", 1), loop.slate("480p30")) == (b"high slate", b"b", b"c")


def test_a_loop_is_open_once_it_is_written(cache: Path) -> None:
    loop = write_loop(cache, "media-1", RENDITIONS)
    assert (loop.media_id, loop.renditions, loop.segments) == ("media-1", (HIGH, LOW), 2)
    assert (loop.segment("1080p30", 1), loop.slate("480p30")) == (b"high 1!", b"c")


def test_an_unknown_rendition_or_position_is_an_error(cache: Path) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    loop = open_loop(cache, "media-1")
    assert loop is not None
    for position in (-1, 2):
        with pytest.raises(IndexError):
            loop.segment("480p30", position)
    with pytest.raises(KeyError):
        loop.segment("720p30", 0)


@pytest.mark.parametrize("media_id", ["media-2", "", "..", "../media-1", "media-1/../media-1", "/", "MEDIA-1", "a.b"])
def test_no_other_id_and_no_path_opens_a_loop(cache: Path, media_id: str) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    assert open_loop(cache, media_id) is None


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [Path.unlink, _truncate, _empty, _flip_a_bit])
@pytest.mark.parametrize("file", ["480p30.ts", "1080p30.ts"])
def test_a_damaged_loop_counts_as_missing_and_can_be_written_anew(
    cache: Path, file: str, damage: Callable[[Path], None]
) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    damage(cache / "media-1" / file)
    assert open_loop(cache, "media-1") is None
    write_loop(cache, "media-1", RENDITIONS)
    assert open_loop(cache, "media-1") is not None


@pytest.mark.parametrize(
    "index",
    [
        *("", "[]", "null", "{}", '{"format": 0}'),
        *('{"format": 1, "renditions": []}', '{"format": 1, "renditions": [{}]}'),
    ],
)
def test_a_damaged_index_counts_as_a_missing_loop(cache: Path, index: str) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    (cache / "media-1" / "index.json").write_text(index)
    assert open_loop(cache, "media-1") is None


def test_an_index_with_other_sizes_than_the_files_counts_as_a_missing_loop(cache: Path) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    index = cache / "media-1" / "index.json"
    text = index.read_text()
    assert '"sizes": [6, 7, 10]' in text
    index.write_text(text.replace('"sizes": [6, 7, 10]', '"sizes": [2, 7, 10]'))
    assert open_loop(cache, "media-1") is None


def test_a_loop_that_is_there_already_never_changes(cache: Path) -> None:
    for _ in range(2):
        write_loop(cache, "media-1", RENDITIONS)
        loop = open_loop(cache, "media-1")
        assert loop is not None
        assert loop.renditions == (HIGH, LOW)
        write_loop(cache, "media-1", [EncodedRendition(LOW, [b"other"], b"slate")])


def test_a_loop_goes_on_playing_when_its_folder_is_deleted(cache: Path) -> None:
    write_loop(cache, "media-1", RENDITIONS)
    loop = open_loop(cache, "media-1")
    assert loop is not None
    shutil.rmtree(cache / "media-1")
    assert loop.segment("1080p30", 1) == b"high 1!"


@pytest.mark.parametrize("is_damaged", [False, True])
def test_writers_at_the_same_time_leave_one_complete_loop_and_nothing_else(cache: Path, is_damaged: bool) -> None:
    if is_damaged:
        write_loop(cache, "media-1", RENDITIONS)
        _truncate(cache / "media-1" / "480p30.ts")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_loop(cache, "media-1", RENDITIONS), range(40)))
    assert open_loop(cache, "media-1") is not None
    assert names_in(cache) == ["media-1"]
    assert names_in(cache / "media-1") == ["1080p30.ts", "480p30.ts", "index.json"]


def test_what_an_ended_process_left_over_is_deleted_an_hour_later(cache: Path) -> None:
    old, recent = cache / ".unfinished-old", cache / ".unfinished-recent"
    for folder in (old, recent):
        folder.mkdir()
    os.utime(old, (0, 0))
    write_loop(cache, "media-1", RENDITIONS)
    assert names_in(cache) == [".unfinished-recent", "media-1"]


def test_the_bandwidth_is_that_of_the_largest_segment_and_of_metadata() -> None:
    segment = ReadyMadeLoop().segment(RENDITION.name, 0)
    rendition = encoded_rendition(852, 480, 30, [segment, segment], segment + bytes(100_000)).rendition
    assert rendition.bandwidth == (len(segment) + 100_000) * 4 + 60_000
    assert rendition.codecs == RENDITION.codecs
