"""A file of one's own plays as segments of exactly two seconds, or is refused by name and rule."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tokensvc.errors import SettingsError
from tokensvc.local_ivs.media.inspection import inspect
from tokensvc.local_ivs.media.own_file import prepare
from tokensvc.local_ivs.media.stored_loop import StoredLoop

FFMPEG = shutil.which("ffmpeg")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(FFMPEG is None, reason="ffmpeg, which makes the files of these tests, is not installed"),
]

PICTURE = "testsrc2=size={size}:rate={rate}:duration={seconds}"
TONE = "sine=frequency=440:sample_rate={sample_rate}:duration={seconds}"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-sc_threshold", "0")
WITH_KEY_FRAMES = (*H264, "-g", "60", "-keyint_min", "60", "-bf", "2")
MakeFile = Callable[..., Path]


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    def make(
        name: str,
        *options: str,
        size: str = "320x180",
        rate: str = "30",
        seconds: float = 5,
        sample_rate: int | None = 48_000,
        sound_seconds: float | None = None,
    ) -> Path:
        inputs = ["-f", "lavfi", "-i", PICTURE.format(size=size, rate=rate, seconds=seconds)]
        if sample_rate:
            tone = TONE.format(sample_rate=sample_rate, seconds=sound_seconds or seconds)
            inputs += ["-f", "lavfi", "-i", tone]
        assert FFMPEG is not None
        subprocess.run([FFMPEG, "-v", "error", *inputs, *options, str(tmp_path / name)], check=True, timeout=120)
        return tmp_path / name

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def is_copied(file: Path) -> bool:
    with av.open(str(file)) as source:
        found = inspect(source)
    assert found is not None
    return not found.filters


def pictures(loop: StoredLoop, position: int) -> list[Fraction]:
    """The times of the pictures of a segment, which is decoded alone."""
    segment = loop.segment(loop.renditions[0].name, position)
    with av.open(io.BytesIO(segment), "r", format="mpegts") as container:
        frames = list(container.decode(video=0))
    assert frames[0].key_frame
    return [Fraction(frame.pts or 0, 90_000) for frame in frames]


def sound_seconds(loop: StoredLoop) -> float:
    total = 0.0
    for position in range(loop.segments):
        segment = loop.segment(loop.renditions[0].name, position)
        with av.open(io.BytesIO(segment), "r", format="mpegts") as container:
            total += sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    return total


def ignore(_: float) -> None: ...


def test_h264_with_fitting_key_frames_is_copied(make_file: MakeFile, cache: Path) -> None:
    file = make_file("fit.mp4", *WITH_KEY_FRAMES, "-c:a", "aac", seconds=5)
    assert is_copied(file)
    loop = prepare(file, cache, ignore)
    [rendition] = loop.renditions
    assert (rendition.width, rendition.height, rendition.frame_rate, loop.segments) == (320, 180, 30, 2)
    assert rendition.codecs.endswith(",mp4a.40.2")
    for position in range(2):
        times = pictures(loop, position)
        assert len(times) == 60
        assert max(times) - min(times) == Fraction(59, 30)
    assert sound_seconds(loop) == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize(
    ("name", "options", "form"),
    [
        ("few-key-frames.mp4", (*H264, "-g", "90", "-c:a", "aac"), {}),
        (
            "high-bit-rate.mp4",
            (*WITH_KEY_FRAMES, "-qp", "0", "-bf", "0", "-vf", "noise=alls=100:allf=t,format=yuv420p"),
            {},
        ),
        ("ntsc.mp4", (*WITH_KEY_FRAMES, "-c:a", "aac"), {"rate": "30000/1001"}),
        ("full-range.mkv", (*H264[:4], "-pix_fmt", "yuvj420p", "-g", "60"), {}),
        ("mpeg4.avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), {"sample_rate": 44_100, "sound_seconds": 9}),
        (
            "odd.webm",
            ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"),
            {"size": "321x181", "rate": "25"},
        ),
        ("slow.mkv", ("-c:v", "mpeg4"), {"rate": "12"}),
    ],
)
def test_everything_else_is_encoded(
    name: str, options: tuple[str, ...], form: dict[str, str | int], make_file: MakeFile, cache: Path
) -> None:
    file = make_file(name, *options, **form)
    assert not is_copied(file)
    loop = prepare(file, cache, ignore)
    [rendition] = loop.renditions
    assert rendition.width % 2 == rendition.height % 2 == 0
    assert rendition.codecs.startswith("avc1.4D40")
    assert loop.segments == 2
    for position in range(2):
        times = pictures(loop, position)
        assert len(times) == 2 * rendition.frame_rate
        assert max(times) - min(times) == pytest.approx(2 - Fraction(1, rendition.frame_rate))
    assert sound_seconds(loop) == pytest.approx(4, abs=0.1)


def test_only_the_sound_is_encoded_if_only_the_picture_fits(make_file: MakeFile, cache: Path) -> None:
    file = make_file("mp3.mkv", *WITH_KEY_FRAMES, "-c:a", "libmp3lame", sample_rate=44_100)
    assert is_copied(file)
    loop = prepare(file, cache, ignore)
    assert loop.renditions[0].codecs.endswith(",mp4a.40.2")
    assert sound_seconds(loop) == pytest.approx(4, abs=0.1)


def test_a_large_picture_is_made_smaller_and_keeps_its_form(make_file: MakeFile, cache: Path) -> None:
    file = make_file("large.mp4", *WITH_KEY_FRAMES, size="2560x1440", rate="2", seconds=2, sample_rate=None)
    [rendition] = prepare(file, cache, ignore).renditions
    assert (rendition.width, rendition.height) == (1920, 1080)


def test_a_picture_that_is_to_be_turned_is_turned(make_file: MakeFile, cache: Path) -> None:
    upright = make_file("upright.mp4", *WITH_KEY_FRAMES, seconds=2, sample_rate=None)
    turned = upright.with_name("turned.mp4")
    assert FFMPEG is not None
    turn = ["-display_rotation", "90"] if _has_option("display_rotation") else []
    metadata = [] if turn else ["-metadata:s:v", "rotate=90"]
    command = [FFMPEG, "-v", "error", *turn, "-i", str(upright), "-c", "copy", *metadata, str(turned)]
    subprocess.run(command, check=True, timeout=60)
    assert not is_copied(turned)
    [rendition] = prepare(turned, cache, ignore).renditions
    assert (rendition.width, rendition.height) == (180, 320)


def _has_option(name: str) -> bool:
    """Whether this version of FFmpeg has an option; the older way was removed from it with version 7."""
    assert FFMPEG is not None
    shown = subprocess.run(
        [FFMPEG, "-v", "error", "-h", "full"], capture_output=True, text=True, check=True, timeout=60
    )
    return f"-{name}" in shown.stdout


def test_a_silent_file_has_no_audio_in_its_segments_nor_in_its_slate(make_file: MakeFile, cache: Path) -> None:
    loop = prepare(make_file("silent.mp4", *WITH_KEY_FRAMES, sample_rate=None), cache, ignore)
    [rendition] = loop.renditions
    assert "mp4a" not in rendition.codecs
    for data in (loop.segment(rendition.name, 0), loop.slate(rendition.name)):
        with av.open(io.BytesIO(data), "r", format="mpegts") as container:
            assert not container.streams.audio


def test_a_file_is_made_once_and_anew_after_a_change(make_file: MakeFile, cache: Path) -> None:
    file = make_file("fit.mp4", *WITH_KEY_FRAMES, seconds=2, sample_rate=None)
    progress: list[float] = []
    loop = prepare(file, cache, progress.append)
    assert progress[-1] == 1
    assert progress == sorted(progress)
    progress.clear()
    assert prepare(file, cache, progress.append).media_id == loop.media_id
    assert not progress
    os.utime(file, (1, 1))
    assert prepare(file, cache, progress.append).media_id != loop.media_id
    assert progress


def test_a_damaged_cache_is_made_anew(make_file: MakeFile, cache: Path) -> None:
    file = make_file("fit.mp4", *WITH_KEY_FRAMES, seconds=2, sample_rate=None)
    media_id = prepare(file, cache, ignore).media_id
    (cache / media_id / "180p30.ts").write_bytes(b"damaged")
    assert pictures(prepare(file, cache, ignore), 0)


@pytest.mark.parametrize(
    ("name", "options", "form", "rule"),
    [
        ("short.mp4", WITH_KEY_FRAMES, {"seconds": 1.5}, "must last for at least 2 seconds, which are one segment"),
        ("sound.mp4", ("-map", "1"), {}, "must have a picture"),
    ],
)
def test_a_file_that_cannot_be_cut_is_refused(
    name: str, options: tuple[str, ...], form: dict[str, float], rule: str, make_file: MakeFile, cache: Path
) -> None:
    file = make_file(name, *options, **form)
    with pytest.raises(SettingsError) as caught:
        prepare(file, cache, ignore)
    assert str(caught.value) == f"--media: {file} {rule}"


@pytest.mark.parametrize("content", [b"", b"text", bytes(100_000)])
def test_what_is_not_a_media_file_is_refused(content: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^--media: .*/bad.mp4 cannot be decoded: Invalid data found"):
        prepare(tmp_path / "bad.mp4", cache, ignore)


def test_a_file_may_have_a_name_that_looks_like_a_url(
    make_file: MakeFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_file("talk.mp4", *WITH_KEY_FRAMES, size="64x36", seconds=2)
    monkeypatch.chdir(file.parent)
    for name in ("2026-11-29:talk.mp4", "concat:talk.mp4"):
        shutil.copy(file, name)
        assert prepare(Path(name), cache, ignore).segments == 1


def test_tags_of_a_file_may_be_in_any_encoding(make_file: MakeFile, cache: Path) -> None:
    latin_1 = os.fsdecode("title=café".encode("latin-1"))
    file = make_file("tags.mp4", *WITH_KEY_FRAMES, "-metadata", latin_1, size="64x36", seconds=2)
    assert prepare(file, cache, ignore).segments == 1


@pytest.mark.parametrize(
    ("found", "damaged", "rule"),
    [
        (b"A_VORBIS", b"A_VORBIX", "has a picture or sound in a format that FFmpeg does not know"),
        (b"\x01vorbis", b"\x01vorbix", "cannot be decoded: "),
    ],
)
def test_sound_that_cannot_be_decoded_is_refused(
    found: bytes, damaged: bytes, rule: str, make_file: MakeFile, cache: Path
) -> None:
    file = make_file("sound.mkv", *WITH_KEY_FRAMES, "-c:a", "libvorbis", size="64x36", seconds=2)
    content = file.read_bytes()
    assert found in content
    file.write_bytes(content.replace(found, damaged))
    with pytest.raises(SettingsError, match=rf"^--media: .*/sound.mkv {rule}"):
        prepare(file, cache, ignore)


def test_it_is_made_without_temporary_files(make_file: MakeFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_file("plain.mp4", *WITH_KEY_FRAMES, size="64x36")
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    monkeypatch.chdir("/proc")  # where no file can be written either
    assert prepare(file, cache, ignore).segments == 2


def test_a_file_in_which_a_stream_appears_late_is_refused(make_file: MakeFile, cache: Path) -> None:
    file = make_file("late.ts", *WITH_KEY_FRAMES, size="64x36", seconds=3)
    content = bytearray(file.read_bytes())
    starts = [position for position in range(0, len(content), 188) if content[position + 1] & 0x40]
    content[starts[-1] + 1] |= 0x1F  # another PID, which no table declares
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^--media: .*/late.ts cannot be decoded: "):
        prepare(file, cache, ignore)


def test_a_file_that_is_cut_off_is_refused(make_file: MakeFile, cache: Path) -> None:
    file = make_file("cut.mp4", *WITH_KEY_FRAMES)
    file.write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(SettingsError, match=r"^--media: .*/cut.mp4 cannot be decoded"):
        prepare(file, cache, ignore)


@pytest.mark.parametrize("name", ["no-such-file", "", "a\0b"])
def test_what_is_not_a_file_is_refused(name: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--media: "):
        prepare(tmp_path / name, cache, ignore)


def test_a_file_that_names_a_url_is_not_followed(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/segment.ts\n")
    with pytest.raises(SettingsError, match=r"^--media: .*/list.m3u8 must be in one of these formats: "):
        prepare(tmp_path / "list.m3u8", cache, ignore)


def test_errors_show_a_name_that_cannot_be_printed_escaped(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--media: .*/\\x1b\[31m cannot be read"):
        prepare(tmp_path / "\x1b[31m", cache, ignore)


def test_a_long_file_is_played_up_to_a_limit(make_file: MakeFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokensvc.local_ivs.media.inspection.MAX_SEGMENTS", 2)
    file = make_file("long.mp4", *WITH_KEY_FRAMES, seconds=20, sample_rate=None)
    assert prepare(file, cache, ignore).segments == 2
