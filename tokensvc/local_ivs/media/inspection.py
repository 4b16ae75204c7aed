"""What a file has, and what is to be made of it so that it fits into segments.

Invariants
- A segment has exactly SEGMENT_SECONDS: a picture is copied only if a key frame begins each of them, if its frame rate
  is a whole number, and if nothing has to be turned or made smaller.
- There are whole segments only, and MAX_SEGMENTS at most.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any, NamedTuple, Protocol

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from tokensvc.local_ivs.media.encoding import Colours
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.test_card import Size

MAX_SEGMENTS = 300
_MAX_SIZE, _MAX_FRAME_RATE = Size(1920, 1080), 60
_DEFAULT_FRAME_RATE = Fraction(30)
_MAX_COPIED_BIT_RATE = 8_500_000
"""IVS's quota for the ingest of a STANDARD channel. It also bounds what a copied file needs in memory and on disk."""
_LATE_KEY_FRAME = Fraction(1, 20)
"""So many seconds after the beginning of its segment a key frame may be."""
_ROTATIONS = {90: ("transpose=clock",), 180: ("hflip", "vflip"), 270: ("transpose=cclock",)}
"""Degrees clockwise by which the picture must be turned -> filters."""


class _Ratio(Protocol):
    """What PyAV's ratios have in common, up to version 18 and from 19 on."""

    @property
    def numerator(self) -> int: ...

    @property
    def denominator(self) -> int: ...


class Inspection(NamedTuple):
    """What is made of a file."""

    size: Size
    frame_rate: int
    segments: int
    has_sound: bool
    colours: Colours
    start: Fraction
    """The time of the first picture in the file, in seconds."""
    filters: tuple[str, ...]
    """FFmpeg's filters that make the picture fit; none if it is copied."""

    @property
    def seconds(self) -> int:
        return self.segments * SEGMENT_SECONDS


def inspect(source: InputContainer) -> Inspection | None:
    """Read the packets of a file's picture and decode the first; None if it has no picture.

    Raises FFmpegError if it cannot be decoded.
    """
    if not source.streams.video:
        return None
    video = source.streams.video[0]
    times: list[Fraction] = []
    key_frames: list[Fraction] = []
    first: VideoFrame | None = None
    size_bytes = 0
    for packet in source.demux(video):
        first = first or next(iter(packet.decode()), None)
        if (time := packet_time(packet)) is None:
            continue
        times.append(time)
        size_bytes += packet.size
        if packet.is_keyframe:
            key_frames.append(time)
        if time - times[0] > (MAX_SEGMENTS + 1) * SEGMENT_SECONDS:
            break
    if first is None:
        return None
    rate = fraction(video.average_rate) or _DEFAULT_FRAME_RATE
    start = min(times)
    duration = max(times) - start + 1 / rate
    segments = min(floor(duration / SEGMENT_SECONDS), MAX_SEGMENTS)
    frame_rate = min(max(round(rate), 1), _MAX_FRAME_RATE)
    size, filters = _fitting(first, fraction(video.sample_aspect_ratio) or Fraction(1), frame_rate, start)
    can_be_copied = (
        video.codec_context.name == "h264"
        and first.format.name == "yuv420p"
        and rate == frame_rate
        and size_bytes * 8 <= _MAX_COPIED_BIT_RATE * duration
        and size == (first.width, first.height)
        and not _rotation(first)
        and _starts_segments({time - start for time in key_frames}, segments)
    )
    colours = Colours(first.colorspace, first.color_primaries, first.color_trc)
    has_sound = bool(source.streams.audio)
    return Inspection(size, frame_rate, segments, has_sound, colours, start, () if can_be_copied else filters)


def packet_time(packet: Packet[Any]) -> Fraction | None:
    """The time of a packet in seconds; None for the one that marks the end of a stream."""
    ticks = packet.dts if packet.pts is None else packet.pts
    return None if ticks is None else ticks * fraction(packet.time_base)


def fraction(ratio: _Ratio | None) -> Fraction:
    """A ratio of PyAV, whose class depends on its version; 0 for an unknown one."""
    return Fraction(ratio.numerator, ratio.denominator) if ratio else Fraction(0)


def _rotation(frame: VideoFrame) -> int:
    """By how many degrees a picture must be turned clockwise."""
    return -frame.rotation % 360


def _fitting(
    frame: VideoFrame, aspect_ratio: Fraction, frame_rate: int, start: Fraction
) -> tuple[Size, tuple[str, ...]]:
    """The size of a rendition, and the filters that bring a picture to it: upright, with square pixels."""
    width, height = frame.width * aspect_ratio, Fraction(frame.height)
    turn = _ROTATIONS.get(_rotation(frame), ())
    if len(turn) == 1:
        width, height = height, width
    share = min(_MAX_SIZE.width / width, _MAX_SIZE.height / height, Fraction(1))
    size = Size(*(max(2 * round(length * share / 2), 2) for length in (width, height)))
    timing = (f"setpts=PTS-({start})/TB", f"fps={frame_rate}:start_time=0")
    return size, (*turn, *timing, f"scale={size.width}:{size.height}:out_range=limited", "setsar=1", "format=yuv420p")


def _starts_segments(key_frames: set[Fraction], segments: int) -> bool:
    """Whether a key frame begins each segment."""
    beginnings = (Fraction(number * SEGMENT_SECONDS) for number in range(segments))
    return all(any(0 <= time - beginning <= _LATE_KEY_FRAME for time in key_frames) for beginning in beginnings)
