"""A channel plays what was chosen, and nothing that blocks or fails gets in the way of a session."""

from __future__ import annotations

import gc
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokensvc.errors import SettingsError
from tokensvc.local_ivs.media import library, test_picture
from tokensvc.local_ivs.media.library import MAX_NAMED_PICTURES, PictureLibrary, open_media
from tokensvc.local_ivs.media.loop import Rendition
from tokensvc.local_ivs.media.ready_made import MEDIA_ID, RENDITION, ReadyMadeLoop
from tokensvc.local_ivs.media.stored_loop import EncodedRendition, write_loop

ARN = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEf123456"
SMALL_RENDITIONS = [EncodedRendition(Rendition(852, 480, 30, 300_000, "avc1.4D401F"), [b"segment"] * 30, b"slate")]


def no_progress(_: float) -> None:
    pytest.fail("nothing was to be made")


class Maker:
    """Stands for the process that makes a picture, until the test says that it is done."""

    def __init__(self, cache: Path, name: str) -> None:
        self.cache, self.name = cache, name
        self.terminated = False
        self._done = threading.Event()

    def finish(self, *, succeed: bool = True) -> None:
        if succeed:
            write_loop(self.cache, test_picture.media_id_of(self.name), SMALL_RENDITIONS)
        self._done.set()

    def wait(self) -> int:
        assert self._done.wait(60)
        return 0

    def terminate(self) -> None:
        self.terminated = True
        self._done.set()


class Makers:
    """The processes that were started, in order."""

    def __init__(self) -> None:
        self._started: queue.SimpleQueue[Maker] = queue.SimpleQueue()

    def start(self, cache: Path, name: str) -> Maker:
        maker = Maker(cache, name)
        self._started.put(maker)
        return maker

    def next(self) -> Maker:
        """The next one, once it is started."""
        return self._started.get(timeout=60)

    def is_empty(self) -> bool:
        return self._started.empty()


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch) -> Makers:
    started = Makers()
    monkeypatch.setattr(library, "_start_maker", started.start)
    return started


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[PictureLibrary]:
    """A library whose picture without a name is in the cache already."""
    write_loop(tmp_path, test_picture.media_id_of(""), SMALL_RENDITIONS)
    opened = open_media("picture", tmp_path, no_progress)
    assert isinstance(opened, PictureLibrary)
    yield opened
    opened._makers.end()


def test_the_ready_made_loop_is_played_without_av_and_without_a_cache(tmp_path: Path) -> None:
    assert open_media("loop", tmp_path / "cache", no_progress).loop_for(ARN, "name").media_id == MEDIA_ID
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("choice", ["picture", "/etc/hostname"])
def test_without_av_the_error_names_the_option_and_the_extra(choice: str, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from pathlib import Path; from tokensvc.local_ivs.media.library import open_media\n"
        "try: open_media(sys.argv[1], Path(sys.argv[2]), print)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", program, choice, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rule = "needs the extra media, which is not installed: pip install 'tokensvc[media]'"
    assert said == f"SettingsError --media: {rule}\n"


def test_a_cache_that_cannot_be_written_is_an_error_of_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^--media: cannot be stored in .*/file/cache: Not a directory$"):
        open_media("picture", tmp_path / "file" / "cache", no_progress)


def test_a_bad_file_is_an_error_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--media: .*/no-such-file cannot be read: No such file or directory$"):
        open_media(str(tmp_path / "no-such-file"), tmp_path / "cache", no_progress)


@pytest.mark.slow
def test_every_channel_plays_the_file_that_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "bars.ts").write_bytes(ReadyMadeLoop().segment(RENDITION.name, 0))
    opened = open_media(str(tmp_path / "bars.ts"), tmp_path / "cache", lambda _: None)
    loop = opened.loop_for(ARN, "name")
    assert [rendition.name for rendition in loop.renditions] == [RENDITION.name]
    assert opened.loop_for("another", "name") is loop
    assert opened.loop(loop.media_id) is loop
    assert opened.loop("another") is None


def test_a_channel_plays_the_nameless_picture_until_its_own_is_made(pictures: PictureLibrary, makers: Makers) -> None:
    first = pictures.loop_for(ARN, "my-channel")
    assert first.media_id == test_picture.media_id_of("")
    maker = makers.next()
    assert maker.name == "my-channel"
    maker.finish()
    second = pictures.loop_for(ARN, "my-channel")
    assert second.media_id == test_picture.media_id_of("my-channel")
    assert pictures.loop(first.media_id) is first
    assert pictures.loop(second.media_id) is second


def test_a_channel_without_a_name_is_called_after_its_arn(pictures: PictureLibrary, makers: Makers) -> None:
    pictures.loop_for(ARN, "")
    assert makers.next().name == "AbCdEf123456"


def test_pictures_are_made_one_after_the_other_and_each_once(pictures: PictureLibrary, makers: Makers) -> None:
    for name in ("a", "b", "a"):
        pictures.loop_for(ARN, name)
    first = makers.next()
    assert (first.name, makers.is_empty()) == ("a", True)
    first.finish(succeed=False)
    second = makers.next()
    assert second.name == "b"
    for name in ("a", "b"):
        assert pictures.loop_for(ARN, name).media_id == test_picture.media_id_of("")
    second.finish()
    pictures.loop_for(ARN, "c")
    assert makers.next().name == "c"


def test_a_process_makes_a_bounded_number_of_pictures(pictures: PictureLibrary, makers: Makers) -> None:
    for number in range(MAX_NAMED_PICTURES):
        pictures.loop_for(ARN, f"channel-{number}")
        makers.next().finish(succeed=False)
    assert pictures.loop_for(ARN, "one-more").media_id == test_picture.media_id_of("")
    pictures._makers.request("the last that is made")
    assert makers.next().name == "the last that is made"


@pytest.mark.slow
def test_a_process_at_work_ends_with_the_library(tmp_path: Path, makers: Makers) -> None:
    write_loop(tmp_path, test_picture.media_id_of(""), SMALL_RENDITIONS)
    opened = open_media("picture", tmp_path, no_progress)
    opened.loop_for(ARN, "a")
    opened.loop_for(ARN, "b")
    maker = makers.next()
    assert isinstance(opened, PictureLibrary)
    thread = opened._makers._thread
    del opened
    gc.collect()
    assert maker.terminated
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    assert makers.is_empty()


def test_a_process_that_cannot_be_started_prevents_no_session_and_no_other_picture(
    pictures: PictureLibrary, makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(cache: Path, name: str) -> Maker:
        if name == "a":
            raise OSError
        return makers.start(cache, name)

    monkeypatch.setattr(library, "_start_maker", start)
    for name in ("a", "b"):
        assert pictures.loop_for(ARN, name).media_id == test_picture.media_id_of("")
    assert makers.next().name == "b"


def test_a_session_finds_its_loop_after_a_restart(pictures: PictureLibrary, makers: Makers, tmp_path: Path) -> None:
    pictures.loop_for(ARN, "my-channel")
    makers.next().finish()
    media_id = pictures.loop_for(ARN, "my-channel").media_id
    again = open_media("picture", tmp_path, no_progress)
    found = again.loop(media_id)
    assert found is not None
    assert found.media_id == media_id
    ready_made = again.loop(MEDIA_ID)
    assert ready_made is not None
    assert ready_made.media_id == MEDIA_ID
    assert again.loop("file-of-the-past") is None


@pytest.mark.slow
def test_the_process_that_makes_a_picture_imports_nothing_from_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for what it would write to a place that cannot be written, so that it makes nothing."""
    (tmp_path / "av.py").write_text("raise SystemExit(42)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    maker = library._start_maker(tmp_path / "av.py" / "cache", "name")
    assert maker.wait(60) == 1
