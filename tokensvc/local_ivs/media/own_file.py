"""A file of one's own as a loop.

Invariants
- The loop has one rendition: that of the file, up to 1920x1080 and 60 frames a second.
- It has whole segments only, and MAX_SEGMENTS at most: what comes after them is not played.
- It is stored under a digest of the file's path, size and time of change, and of the code that makes it.
- FFmpeg reads this one file: formats that name other files, as playlists do, are refused.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError

from tokensvc.errors import FieldError, SettingsError
from tokensvc.local_ivs.media.encoding import LIVE, Sound, encode
from tokensvc.local_ivs.media.inspection import Inspection, inspect
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.progress import Progress, no_progress
from tokensvc.local_ivs.media.stored_loop import EncodedRendition, StoredLoop, encoded_rendition, open_loop, write_loop
from tokensvc.local_ivs.media.test_card import Slate
from tokensvc.local_ivs.media.transcoding import transcode
from tokensvc.printable import printable

FIELD = "--media"
PREFIX = "file-"
_VERSION = 1
"""To be raised when a change of the code changes what it makes of a file."""
_FORMATS = "asf,avi,flv,matroska,mov,mpeg,mpegts,ogg"
"""As FFmpeg calls them: `mov` reads MP4 too, and `matroska` WebM."""
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
_TAGS: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Up to version 18, PyAV refuses a file with a tag that is not UTF-8 unless it is told otherwise; 19 never does."""


def prepare(file: Path, cache: Path, progress: Progress) -> StoredLoop:
    """The loop of a file, from the cache or made now.

    Raises SettingsError if the file cannot be played, OSError if the cache cannot be written.
    """
    media_id = _media_id_of(file)
    cache.mkdir(parents=True, exist_ok=True)
    if loop := open_loop(cache, media_id):
        return loop
    try:
        made = _make(file, progress)
    except FFmpegError as error:
        raise _invalid(file, f"cannot be decoded: {error.strerror}") from None
    except (ValueError, LookupError) as error:  # PyAV's own, for sound without channels for example
        raise _invalid(file, f"cannot be decoded: {error}") from None
    return write_loop(cache, media_id, [made])


def _media_id_of(file: Path) -> str:
    try:
        path = file.resolve(strict=True)
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _invalid(file, f"cannot be read: {getattr(error, 'strerror', error)}") from None
    if not path.is_file():
        raise _invalid(file, "must be a file")
    identity = f"{_VERSION} {path} {status.st_size} {status.st_mtime_ns}"
    return PREFIX + sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _make(file: Path, progress: Progress) -> EncodedRendition:
    with _open(file) as source:
        if any(stream.codec_context is None for stream in (*source.streams.video[:1], *source.streams.audio[:1])):
            raise _invalid(file, "has a picture or sound in a format that FFmpeg does not know")
        found = inspect(source)
    if found is None:
        raise _invalid(file, "must have a picture")
    if found.segments < 1:
        raise _invalid(file, f"must last for at least {SEGMENT_SECONDS} seconds, which are one segment")
    with _open(file) as source:
        segments = transcode(source, found, progress)
    if not segments:
        raise _invalid(file, "cannot be decoded: it has no pictures")
    return encoded_rendition(*found.size, found.frame_rate, segments, _slate(file, found))


def _open(file: Path) -> InputContainer:
    try:
        # An absolute path, since FFmpeg takes what is before a colon for a protocol.
        opened: InputContainer = av.open(str(file.absolute()), "r", options=_OPTIONS, **_TAGS)
    except ArgumentError:  # FFmpeg's answer to a format that is not allowed
        raise _invalid(file, f"must be in one of these formats: {_FORMATS}") from None
    return opened


def _slate(file: Path, found: Inspection) -> bytes:
    sound = Sound.SILENCE if found.has_sound else Sound.NONE
    picture = Slate(file.name, f"{found.size.height}p{found.frame_rate}", found.size)
    [segment] = encode(picture, found.size, SEGMENT_SECONDS, sound=sound, quality=LIVE, progress=no_progress)
    return segment


def _invalid(file: Path, rule: str) -> SettingsError:
    return SettingsError([FieldError(FIELD, f"{printable(str(file))} {rule}")])
