"""Cuts encoded streams into segments of MPEG-TS, with FFmpeg's HLS muxer.

Invariants
- A segment begins at the first key frame after each full SEGMENT_SECONDS; continuity counters run on from one to the
  next.
- The tables PAT and PMT stand only at the beginning of a segment: a player that starts there needs no others, and a
  short segment stays small.
- FFmpeg writes into memory: its HLS muxer does not report a file that could not be written, on a full disk for example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO

import av
from av.container import OutputContainer

from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.transport_stream import cleaned_segment

_TABLES_EACH_SECONDS = 3600
_SUFFIX = ".ts"


class Segmenter:
    """Streams and packets go into the `container`; after the block, `segments` has what came out."""

    def __init__(self, container: OutputContainer) -> None:
        self.container = container
        self.segments: list[bytes] = []


class _File(BytesIO):
    """A file in memory, whose content stays when FFmpeg closes it."""

    def close(self) -> None:
        pass


@contextmanager
def segmenter() -> Iterator[Segmenter]:
    files: dict[str, _File] = {}

    def open_file(name: str, _flags: int, _options: Mapping[str, str]) -> _File:
        files[name] = _File()
        return files[name]

    tables = f"pat_period={_TABLES_EACH_SECONDS}:sdt_period={_TABLES_EACH_SECONDS}"
    options = {
        "hls_time": str(SEGMENT_SECONDS),
        "hls_list_size": "0",
        "hls_flags": "-temp_file",  # without renames
        "hls_segment_filename": f"%06d{_SUFFIX}",
        "hls_segment_options": tables,
    }
    with av.open("playlist.m3u8", "w", format="hls", options=options, io_open=open_file) as container:
        cutting = Segmenter(container)
        yield cutting
    names = sorted(name for name in files if name.endswith(_SUFFIX))
    cutting.segments += [cleaned_segment(files.pop(name).getvalue()) for name in names]
