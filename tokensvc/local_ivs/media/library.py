"""Which loop a channel plays, as chosen when the local IVS starts.

Invariants
- `av` is imported only if the test picture or a file of one's own was chosen.
- A channel's own test picture is made in another process at low priority, one at a time; until it is there, new
  sessions get the test picture without a name. Each is attempted once.
- A session finds its loop again after a restart, with another choice too, as long as the cache has it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from tokensvc.errors import FieldError, SettingsError
from tokensvc.local_ivs.media.loop import MediaLibrary, MediaLoop
from tokensvc.local_ivs.media.progress import Progress
from tokensvc.local_ivs.media.ready_made import ReadyMadeLibrary, ReadyMadeLoop
from tokensvc.local_ivs.media.stored_loop import StoredLoop, open_loop

READY_MADE, TEST_PICTURE = "loop", "picture"
"""The choices that are not the path of a file."""
MAX_NAMED_PICTURES = 16
"""The most named pictures that one process makes: each takes seconds and some megabytes."""

_FIELD = "--media"
_NO_NAME = ""
_MAKER = "tokensvc.local_ivs.media.test_picture"


def open_media(choice: str, cache: Path, progress: Progress) -> MediaLibrary:
    """The library for a choice: READY_MADE, TEST_PICTURE or the path of a file.

    What has to be made is made now, unless the cache has it, which takes seconds; `progress` may be called from several
    threads in turn. Raises SettingsError if that is not possible.
    """
    if choice == READY_MADE:
        return ReadyMadeLibrary()
    try:
        return _open_made(choice, cache, progress)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "av":
            raise
        rule = "needs the extra media, which is not installed: pip install 'tokensvc[media]'"
    except OSError as error:
        rule = f"cannot be stored in {cache}: {error.strerror or error}"
    raise SettingsError([FieldError(_FIELD, rule)])


def _open_made(choice: str, cache: Path, progress: Progress) -> MediaLibrary:
    if choice == TEST_PICTURE:
        from tokensvc.local_ivs.media import test_picture

        return PictureLibrary(cache, test_picture.make(_NO_NAME, cache, progress))
    from tokensvc.local_ivs.media import own_file

    return OwnFileLibrary(cache, own_file.prepare(Path(choice), cache, progress))


class _OpenLoops:
    """The loops that this process plays, opened once each."""

    def __init__(self, cache: Path, *loops: MediaLoop) -> None:
        self._cache = cache
        self._loops = {loop.media_id: loop for loop in (ReadyMadeLoop(), *loops)}

    def find(self, media_id: str) -> MediaLoop | None:
        loop = self._loops.get(media_id) or open_loop(self._cache, media_id)
        if loop is not None:
            self._loops.setdefault(media_id, loop)
        return loop


class OwnFileLibrary:
    """Every channel plays the same file."""

    def __init__(self, cache: Path, loop: StoredLoop) -> None:
        self._loop = loop
        self._loops = _OpenLoops(cache, loop)

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:  # noqa: ARG002 - the same for every channel
        return self._loop

    def loop(self, media_id: str) -> MediaLoop | None:
        return self._loops.find(media_id)


class PictureLibrary:
    """Every channel plays a test picture with its name, or with the end of its ARN if it has none."""

    def __init__(self, cache: Path, without_name: StoredLoop) -> None:
        self._cache = cache
        self._without_name = without_name
        self._loops = _OpenLoops(cache, without_name)
        self._lock = Lock()
        self._requested: set[str] = set()
        self._makers = _Makers(cache)
        weakref.finalize(self, self._makers.end)

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:
        from tokensvc.local_ivs.media.test_picture import media_id_of

        name = channel_name or channel_arn.rpartition("/")[2]
        loop = self._loops.find(media_id_of(name))
        if loop is None:
            self._request(name)
        return loop or self._without_name

    def loop(self, media_id: str) -> MediaLoop | None:
        return self._loops.find(media_id)

    def _request(self, name: str) -> None:
        with self._lock:
            if name not in self._requested and len(self._requested) < MAX_NAMED_PICTURES:
                self._requested.add(name)
                self._makers.request(name)


class _Makers:
    """Makes the pictures of channels, one after the other, each in a process."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._names: SimpleQueue[str] = SimpleQueue()
        self._thread: Thread | None = None
        self._lock = Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._ended = False

    def request(self, name: str) -> None:
        self._names.put(name)
        if self._thread is None:
            self._thread = Thread(target=self._run, name="test-pictures", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End with the process that is at work, since the library is no longer used or the program ends."""
        with self._lock:
            self._ended = True
            if self._running is not None:
                self._running.terminate()
        self._names.put("")

    def _run(self) -> None:
        while True:
            name = self._names.get()
            with self._lock:
                if self._ended:
                    return
                with suppress(OSError):  # then the channel has the picture without a name
                    self._running = _start_maker(self._cache, name)
            if self._running is not None:
                self._running.wait()
                self._running = None


def _start_maker(cache: Path, name: str) -> subprocess.Popen[bytes]:
    """Start the process that makes a picture. It imports from where this process does, and not from where it stands."""
    command = [sys.executable, "-P", "-m", _MAKER, str(cache), name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(  # noqa: S603 - this program with arguments of its own
        command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet
    )
