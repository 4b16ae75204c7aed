"""The loop in the package plays without `av`, and is made by the script beside it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tokensvc.local_ivs.media import make_ready_made
from tokensvc.local_ivs.media.ready_made import (
    LOOP_FILE,
    MEDIA_ID,
    RENDITION,
    SLATE_FILE,
    ReadyMadeLibrary,
    ReadyMadeLoop,
)
from tokensvc.local_ivs.media.stored_loop import encoded_rendition


@pytest.fixture
def loop() -> ReadyMadeLoop:
    return ReadyMadeLoop()


def luma_of_first_picture(segment: bytes) -> bytes:
    with av.open(io.BytesIO(segment), "r", format="mpegts") as container:
        return bytes(next(container.decode(video=0)).planes[0])


def test_every_channel_plays_it_and_a_session_finds_it_again() -> None:
    library = ReadyMadeLibrary()
    assert library.loop_for("arn", "name").media_id == MEDIA_ID
    assert library.loop(MEDIA_ID) is library.loop_for("arn", "name")
    assert library.loop("another") is None


def test_it_has_a_few_tens_of_kilobytes(loop: ReadyMadeLoop) -> None:
    assert len(loop.segment(RENDITION.name, 0)) + len(loop.slate(RENDITION.name)) < 80_000


def test_its_rendition_is_what_the_files_have(loop: ReadyMadeLoop) -> None:
    segment, slate = loop.segment(RENDITION.name, 0), loop.slate(RENDITION.name)
    described = encoded_rendition(RENDITION.width, RENDITION.height, RENDITION.frame_rate, [segment], slate).rendition
    assert described._replace(bandwidth=RENDITION.bandwidth) == RENDITION
    assert described.bandwidth <= RENDITION.bandwidth < 1.1 * described.bandwidth


def test_an_unknown_rendition_or_position_is_an_error(loop: ReadyMadeLoop) -> None:
    with pytest.raises(KeyError):
        loop.segment("720p30", 0)
    with pytest.raises(KeyError):
        loop.slate("720p30")
    with pytest.raises(IndexError):
        loop.segment(RENDITION.name, 1)


def test_it_plays_where_av_is_not_installed() -> None:
    program = "import sys; sys.modules['av'] = None; import tokensvc.local_ivs.media.ready_made as m; m.ReadyMadeLoop()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.slow
def test_the_script_makes_the_committed_pictures_anew(loop: ReadyMadeLoop, tmp_path: Path) -> None:
    """Not byte by byte: that depends on the version of x264."""
    make_ready_made.make(tmp_path)
    for file, committed in ((LOOP_FILE, loop.segment(RENDITION.name, 0)), (SLATE_FILE, loop.slate(RENDITION.name))):
        made = (tmp_path / file).read_bytes()
        assert abs(len(made) - len(committed)) < 0.1 * len(committed)
        before, after = luma_of_first_picture(committed), luma_of_first_picture(made)
        assert len(before) == len(after)
        assert sum(abs(a - b) for a, b in zip(before, after, strict=True)) < len(before)
