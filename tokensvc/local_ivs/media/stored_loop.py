"""Loops in a folder: written once, complete or not at all, and read by every process that plays them.

Invariants
- A loop is a folder named after its media id, with one file per rendition (its segments, then its slate) and an index.
  It is written under another name and renamed, so that a half-made one is never seen.
- Opening a loop compares each file with the digest in the index: what is damaged counts as missing.
- The files are mapped into memory: a loop of any size costs no memory of its own, and goes on playing if its folder is
  deleted meanwhile.
"""

from __future__ import annotations

import errno
import json
import mmap
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS, Rendition
from tokensvc.local_ivs.media.transport_stream import codecs

_FORMAT = 1
_INDEX = "index.json"
_UNFINISHED = ".unfinished-"
_ALREADY_THERE = {errno.ENOTEMPTY, errno.EEXIST}
_UNFINISHED_SECONDS = 3600
"""A folder of this age that was not renamed is left over from a process that was ended."""
_MEDIA_ID = re.compile(r"[a-z0-9][a-z0-9-]*")
_METADATA_BITS_PER_SECOND = 60_000
"""What timed metadata adds at most: five texts of 1 KB a second (IVS's quotas), in their packets."""


class EncodedRendition(NamedTuple):
    """A rendition that is ready to be written."""

    rendition: Rendition
    segments: Sequence[bytes]
    slate: bytes


def encoded_rendition(
    width: int, height: int, frame_rate: int, segments: Sequence[bytes], slate: bytes
) -> EncodedRendition:
    """Describe encoded segments. The bandwidth is the peak bit rate of a segment (RFC 8216 section 4.3.4.2)."""
    largest = max(map(len, (*segments, slate)))
    bandwidth = largest * 8 // SEGMENT_SECONDS + _METADATA_BITS_PER_SECOND
    return EncodedRendition(Rendition(width, height, frame_rate, bandwidth, codecs(segments[0])), segments, slate)


class _Part(NamedTuple):
    """The file of a rendition: where each segment begins, and in the end the slate and the end of the file."""

    data: mmap.mmap
    offsets: tuple[int, ...]

    def piece(self, position: int) -> bytes:
        return self.data[self.offsets[position] : self.offsets[position + 1]]


class StoredLoop:
    """A loop in a folder."""

    def __init__(self, media_id: str, parts: Mapping[Rendition, _Part]) -> None:
        self.media_id = media_id
        self.renditions = tuple(parts)
        self._parts = {rendition.name: part for rendition, part in parts.items()}
        self.segments = min(len(part.offsets) for part in parts.values()) - 2

    def segment(self, rendition: str, position: int) -> bytes:
        if not 0 <= position < self.segments:
            raise IndexError(position)
        return self._parts[rendition].piece(position)

    def slate(self, rendition: str) -> bytes:
        return self._parts[rendition].piece(self.segments)


def open_loop(cache: Path, media_id: str) -> StoredLoop | None:
    """The loop with this id, or None if there is none or it is damaged."""
    if not _MEDIA_ID.fullmatch(media_id):
        return None
    try:
        index = json.loads((cache / media_id / _INDEX).read_bytes())
        if index["format"] != _FORMAT:
            return None
        parts = {Rendition(**entry["rendition"]): _open_part(cache / media_id, entry) for entry in index["renditions"]}
        return StoredLoop(media_id, parts)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_loop(cache: Path, media_id: str, renditions: Sequence[EncodedRendition]) -> StoredLoop:
    """Write a loop, highest rendition first, and open it. A damaged one is replaced.

    Raises OSError if the cache cannot be written or does not exist.
    """
    _delete_unfinished(cache)
    folder = Path(mkdtemp(prefix=_UNFINISHED, dir=cache))
    try:
        entries = [_write_part(folder, rendition) for rendition in renditions]
        (folder / _INDEX).write_text(json.dumps({"format": _FORMAT, "renditions": entries}), "ascii")
        parts = [_open_part(folder, entry) for entry in entries]
        _put_in_place(folder, cache / media_id)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return StoredLoop(media_id, dict(zip((encoded.rendition for encoded in renditions), parts, strict=True)))


def _put_in_place(folder: Path, target: Path) -> None:
    """Rename a finished folder. A loop that another process has put there meanwhile is as good, and stays."""
    while True:
        try:
            folder.rename(target)
        except OSError as error:  # a rename does not replace a folder that has files
            if error.errno not in _ALREADY_THERE:
                raise
            if open_loop(target.parent, target.name):
                return
            _delete(target)
        else:
            return


def _delete(loop: Path) -> None:
    """Delete a damaged loop, at once for all who look for it."""
    aside = Path(mkdtemp(prefix=_UNFINISHED, dir=loop.parent))
    with suppress(FileNotFoundError):
        loop.rename(aside / loop.name)
    shutil.rmtree(aside, ignore_errors=True)


def _write_part(folder: Path, encoded: EncodedRendition) -> dict[str, Any]:
    """Write the file of a rendition. Returns its entry in the index."""
    pieces = (*encoded.segments, encoded.slate)
    name = f"{encoded.rendition.name}.ts"
    digest = sha256()
    with (folder / name).open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
    return {
        "rendition": encoded.rendition._asdict(),
        "file": name,
        "sizes": [len(piece) for piece in pieces],
        "sha256": digest.hexdigest(),
    }


def _open_part(folder: Path, entry: Mapping[str, Any]) -> _Part:
    """Map the file of a rendition. Raises ValueError if it is damaged."""
    with (folder / entry["file"]).open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    offsets = tuple(accumulate(entry["sizes"], initial=0))
    if sha256(data).hexdigest() != entry["sha256"] or offsets[-1] != len(data):
        raise ValueError
    return _Part(data, offsets)


def _delete_unfinished(cache: Path) -> None:
    for folder in cache.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if folder.stat().st_mtime < time.time() - _UNFINISHED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
