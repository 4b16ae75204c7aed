"""The test picture is made once, in all renditions, shows the right second, and is made anew when it is damaged."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import av
import pytest

from tokensvc.local_ivs.media import encoding, library, test_picture
from tokensvc.local_ivs.media.progress import no_progress
from tokensvc.local_ivs.media.stored_loop import StoredLoop, open_loop
from tokensvc.local_ivs.media.test_card import FRAME_RATE, Size, TestCard

pytestmark = pytest.mark.slow

SMALL = (Size(426, 240), Size(284, 160))
NAME = "my-channel"
BUDGET_SECONDS = 20
"""For the test picture on two cores."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes pictures of four seconds in two small renditions."""
    monkeypatch.setattr(test_picture, "SIZES", SMALL)
    monkeypatch.setattr(test_picture, "SECONDS", 4)


def first_picture(segment: bytes) -> bytes:
    """The luma of a segment's first picture, without the padding of its lines."""
    with av.open(io.BytesIO(segment), "r", format="mpegts") as container:
        frame = next(container.decode(video=0))
        plane = frame.planes[0]
        data = bytes(plane)
        return b"".join(data[row * plane.line_size :][: frame.width] for row in range(frame.height))


def difference(a: bytes, b: bytes) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)


@pytest.mark.usefixtures("small")
def test_each_segment_shows_the_seconds_of_its_position(tmp_path: Path) -> None:
    loop = test_picture.make(NAME, tmp_path, no_progress)
    assert [rendition.name for rendition in loop.renditions] == ["240p30", "160p30"]
    assert loop.segments == 2
    for size in SMALL:
        name = f"{size.height}p30"
        drawn = TestCard(NAME, f"LOCAL IVS  {name}", size)
        expected = [bytes(drawn.frame(position * 2 * FRAME_RATE).planes[0]) for position in range(2)]
        shown = [first_picture(loop.segment(name, position)) for position in range(2)]
        for position in range(2):
            assert difference(shown[position], expected[position]) < 2
            assert difference(shown[position], expected[1 - position]) > difference(shown[position], expected[position])
        assert difference(first_picture(loop.slate(name)), shown[0]) > 10


@pytest.mark.usefixtures("small")
def test_progress_grows_to_one(tmp_path: Path) -> None:
    progress: list[float] = []
    test_picture.make(NAME, tmp_path, progress.append)
    assert progress == sorted(set(progress))
    assert (progress[0], progress[-1]) == (0, 1)


@pytest.mark.usefixtures("small")
def test_a_picture_is_made_once_per_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = test_picture.make(NAME, tmp_path, no_progress)
    other = test_picture.make("other", tmp_path, no_progress)
    monkeypatch.setattr(test_picture, "encode", None)
    assert test_picture.make(NAME, tmp_path, no_progress).media_id == made.media_id != other.media_id


@pytest.mark.usefixtures("small")
def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    made = test_picture.make(NAME, tmp_path, no_progress)
    damaged = tmp_path / made.media_id / "160p30.ts"
    damaged.write_bytes(damaged.read_bytes()[:-188])
    again = test_picture.make(NAME, tmp_path, no_progress)
    assert again.slate("160p30")[-188:-187] == b"\x47"


@pytest.mark.usefixtures("small")
def test_a_failure_of_one_rendition_ends_the_others_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoding.encode

    def failing(picture: object, size: Size, *arguments: object, **options: object) -> list[bytes]:
        if size == SMALL[0]:
            raise MemoryError
        return real(picture, size, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(test_picture, "encode", failing)
    with pytest.raises(MemoryError):
        test_picture.make(NAME, tmp_path, no_progress)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_callback_ends_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        test_picture.make(NAME, tmp_path, interrupt)
    assert open_loop(tmp_path, test_picture.media_id_of(NAME)) is None


@pytest.mark.usefixtures("small")
def test_another_code_makes_another_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    before = test_picture.media_id_of(NAME)
    monkeypatch.setattr(test_picture, "_digest_of_sources", lambda: "other")
    assert test_picture.media_id_of(NAME) != before


@pytest.mark.usefixtures("small")
def test_all_renditions_are_made_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, meeting = encoding.encode, threading.Barrier(len(SMALL), timeout=60)

    def meet(*arguments: object, **options: object) -> list[bytes]:
        meeting.wait()
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(test_picture, "encode", meet)
    assert test_picture.make(NAME, tmp_path, no_progress).segments == 2


@pytest.mark.long
@pytest.mark.timing
def test_two_cores_make_it_in_time(tmp_path: Path) -> None:
    """Judged by the time of the processor, which does not depend on what else is running."""
    before = os.times()
    loop = test_picture.make("", tmp_path, no_progress)
    after = os.times()
    assert_is_the_test_picture(loop)
    assert after.user + after.system - before.user - before.system < 2 * BUDGET_SECONDS


@pytest.mark.long
def test_a_process_of_its_own_makes_the_picture_of_a_channel(tmp_path: Path) -> None:
    maker = library._start_maker(tmp_path, NAME)
    assert maker.wait(600) == 0
    loop = open_loop(tmp_path, test_picture.media_id_of(NAME))
    assert loop is not None
    assert_is_the_test_picture(loop)


def assert_is_the_test_picture(loop: StoredLoop) -> None:
    assert [(rendition.width, rendition.height, rendition.name) for rendition in loop.renditions] == [
        (1920, 1080, "1080p30"),
        (1280, 720, "720p30"),
        (852, 480, "480p30"),
    ]
    assert [rendition.codecs for rendition in loop.renditions] == [
        f"avc1.4D40{level},mp4a.40.2" for level in ("28", "1F", "1F")
    ]
    bandwidths = [rendition.bandwidth for rendition in loop.renditions]
    assert bandwidths == sorted(bandwidths, reverse=True)
    assert loop.segments == 30
