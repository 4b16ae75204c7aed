"""The test picture: a test card of 60 seconds with a channel's name, in three renditions, made once and then stored.

Invariants
- Its second 0 is the second 0 of a minute of UTC, since the local edge counts segments from the epoch.
- A picture is stored under a digest of the name and of the code that draws and encodes it: after a change of the code
  it is made anew.
- `python -m tokensvc.local_ivs.media.test_picture CACHE NAME` makes one in a process of its own, at low priority.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cache as cached
from hashlib import sha256
from pathlib import Path
from threading import Event

from tokensvc.local_ivs.media.encoding import LIVE, Sound, encode
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.progress import Progress, WholePercents, no_progress
from tokensvc.local_ivs.media.stored_loop import (
    EncodedRendition,
    StoredLoop,
    encoded_rendition,
    open_loop,
    write_loop,
)
from tokensvc.local_ivs.media.test_card import FRAME_RATE, SECONDS, Picture, Size, Slate, TestCard

SIZES = (Size(1920, 1080), Size(1280, 720), Size(852, 480))
PREFIX = "picture-"
_LABEL = "LOCAL IVS"
_SOURCES = ("glyphs", "canvas", "test_card", "encoding", "segmenter", "transport_stream", "stored_loop", "test_picture")
_NICENESS = 10


def media_id_of(name: str) -> str:
    """The id of the test picture with this name."""
    return PREFIX + sha256(f"{_digest_of_sources()} {name}".encode()).hexdigest()[:24]


def make(name: str, cache: Path, progress: Progress) -> StoredLoop:
    """The test picture with this name, from the cache or made now. `progress` is called from several threads in turn.

    Raises OSError if the cache cannot be written.
    """
    media_id = media_id_of(name)
    cache.mkdir(parents=True, exist_ok=True)
    return open_loop(cache, media_id) or write_loop(cache, media_id, _encode_all(name, progress))


def _encode_all(name: str, progress: Progress) -> list[EncodedRendition]:
    """All renditions at the same time. PyAV releases the interpreter's lock while it encodes."""
    work = _SharedProgress(progress)
    with ThreadPoolExecutor(len(SIZES)) as pool:
        jobs = [pool.submit(_encode_one, name, size, work) for size in SIZES]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            work.stopped.set()
            raise


def _encode_one(name: str, size: Size, work: _SharedProgress) -> EncodedRendition:
    label = f"{_LABEL}  {size.height}p{FRAME_RATE}"

    def segments(picture: Picture, seconds: int, sound: Sound, progress: Progress) -> list[bytes]:
        return encode(picture, size, seconds, sound=sound, quality=LIVE, progress=progress)

    [slate] = segments(Slate(name, label, size), SEGMENT_SECONDS, Sound.SILENCE, no_progress)
    pieces = segments(TestCard(name, label, size), SECONDS, Sound.TONE, lambda share: work.report(size, share))
    return encoded_rendition(*size, FRAME_RATE, pieces, slate)


class _SharedProgress:
    """The progress of all renditions, each weighed by its pixels."""

    def __init__(self, progress: Progress) -> None:
        self.stopped = Event()
        self._percents = WholePercents(progress)
        self._shares = dict.fromkeys(SIZES, 0.0)

    def report(self, size: Size, share: float) -> None:
        """Raises CancelledError, which ends the work, once another rendition has failed."""
        if self.stopped.is_set():
            raise CancelledError
        self._shares[size] = share
        done = sum(self._shares[each] * each.width * each.height for each in SIZES)
        self._percents.report(done / sum(each.width * each.height for each in SIZES))


@cached
def _digest_of_sources() -> str:
    folder = Path(__file__).parent
    return sha256(b"".join((folder / f"{name}.py").read_bytes() for name in _SOURCES)).hexdigest()


if __name__ == "__main__":
    os.nice(_NICENESS)
    make(sys.argv[2], Path(sys.argv[1]), no_progress)
