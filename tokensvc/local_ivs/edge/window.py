"""The live window: which segments of a stream a media playlist lists at a time.

Invariants
- Segment n lasts from second n * SEGMENT_SECONDS of Unix time, so every session, process and rendition agrees on it,
  and a loop of a minute shows the right second. It is listed once its end has passed; what has been listed never
  changes.
- Its media sequence number is n less the number of the stream's first segment.
- INFERRED: A stream has a whole live window from its start, with segments of the seconds before it, so that a player
  can start immediately.
- A discontinuity is before each pass of the loop, before each segment of a slate, and after a slate. The discontinuity
  sequence number counts those that the window has passed (RFC 8216, sections 4.3.3.3 and 6.2.2).
- INFERRED: An ad break begins and ends with segments: its slate begins with the first one that begins at its start or
  later, and lasts for its duration, rounded up.
- INFERRED: Ad breaks whose slates would have a segment in common overlap, since a segment shows the slate of one. Among
  those that do not share time, this is an ad break of one second in an odd second right before another one.
- Everything follows from the arguments; nothing is counted from request to request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS

WINDOW_SEGMENTS = 6
"""More than the three target durations from the end at which a player starts (RFC 8216, section 6.3.3)."""
RETAINED_SEGMENTS = WINDOW_SEGMENTS + 1
"""A segment that is no longer listed can be loaded for its own duration and that of a playlist (RFC 8216, section
6.2.2)."""

_MAX_CACHED_WINDOWS = 256


class AdBreak(NamedTuple):
    """An ad break of the stream, in Unix seconds."""

    ad_break_id: str
    start: int
    duration: int

    @property
    def first(self) -> int:
        """The number of the first segment of its slate."""
        return -(-self.start // SEGMENT_SECONDS)

    @property
    def end(self) -> int:
        """The number of the segment after its slate."""
        return max(self.first + 1, -(-(self.start + self.duration) // SEGMENT_SECONDS))

    def overlaps(self, other: AdBreak) -> bool:
        """Whether the two share time or a segment."""
        shares_time = self.start < other.start + other.duration and other.start < self.start + self.duration
        return shares_time or (self.first < other.end and other.first < self.end)


class StreamSegment(NamedTuple):
    """A segment of a stream, as a viewer sees it."""

    number: int
    ad_break: AdBreak | None
    """The ad break whose slate it shows; None if it shows the loop."""
    is_discontinuous: bool
    """Whether it does not continue the segment before it."""

    @property
    def starts_at(self) -> int:
        """In Unix seconds."""
        return self.number * SEGMENT_SECONDS


class LiveWindow(NamedTuple):
    """The segments of a media playlist, and the numbers in its head."""

    media_sequence: int
    discontinuity_sequence: int
    segments: tuple[StreamSegment, ...]


def live_window(now: float, started_at: int, loop_segments: int, ad_breaks: tuple[AdBreak, ...] = ()) -> LiveWindow:
    """The window at a time of a stream that started at `started_at`, both in Unix seconds.

    `loop_segments` is the number of segments of one pass. `ad_breaks` are those of the stream that the viewer sees,
    whether passed or to come; they do not overlap, and may only be added before they begin.
    """
    return _window(_next_to_list(now, started_at), _first_of_stream(started_at), loop_segments, ad_breaks)


def is_available(number: int, now: float, started_at: int) -> bool:
    """Whether a segment can be loaded: it is listed, or was until shortly before."""
    end = _next_to_list(now, started_at)
    return max(_first_of_stream(started_at), end - WINDOW_SEGMENTS - RETAINED_SEGMENTS) <= number < end


def segment_of(number: int, started_at: int, loop_segments: int, ad_breaks: Sequence[AdBreak]) -> StreamSegment:
    """A segment of a stream; the other arguments are those of `live_window`."""
    return _segment(number, _first_of_stream(started_at), loop_segments, ad_breaks)


@lru_cache(maxsize=_MAX_CACHED_WINDOWS)
def _window(end: int, stream_first: int, loop_segments: int, ad_breaks: tuple[AdBreak, ...]) -> LiveWindow:
    """The window before segment `end`. It is the same for all sessions of a stream that see the same ad breaks."""
    first = end - WINDOW_SEGMENTS
    segments = tuple(_segment(number, stream_first, loop_segments, ad_breaks) for number in range(first, end))
    passed = _discontinuities(stream_first + 1, first, loop_segments, ad_breaks)
    return LiveWindow(first - stream_first, passed, segments)


def _segment(number: int, stream_first: int, loop_segments: int, ad_breaks: Sequence[AdBreak]) -> StreamSegment:
    ad_break = _ad_break_of(number, ad_breaks)
    after_slate = ad_break is None and _ad_break_of(number - 1, ad_breaks) is not None
    begins_pass = ad_break is None and number % loop_segments == 0
    discontinuous = number > stream_first and (ad_break is not None or after_slate or begins_pass)
    return StreamSegment(number, ad_break, discontinuous)


def _ad_break_of(number: int, ad_breaks: Iterable[AdBreak]) -> AdBreak | None:
    """The ad break whose slate a segment shows."""
    return next((ad_break for ad_break in ad_breaks if ad_break.first <= number < ad_break.end), None)


def _first_of_stream(started_at: int) -> int:
    return started_at // SEGMENT_SECONDS - WINDOW_SEGMENTS


def _next_to_list(now: float, started_at: int) -> int:
    """The number of the segment that is not over yet."""
    return int(max(now, started_at) // SEGMENT_SECONDS)


def _discontinuities(first: int, end: int, loop_segments: int, ad_breaks: Sequence[AdBreak]) -> int:
    """The number of segments with first <= number < end that have a discontinuity before them."""
    total = _multiples(first, end, loop_segments)
    for slate_first, slate_end in _slates(ad_breaks):
        # A slate's segments and the one after it; those that begin a pass of the loop are counted already.
        low, high = max(first, slate_first), min(end, slate_end + 1)
        if low < high:
            total += high - low - _multiples(low, high, loop_segments)
    return total


def _slates(ad_breaks: Sequence[AdBreak]) -> Iterator[tuple[int, int]]:
    """The first segment of each slate and the one after it. Slates with nothing in between are one."""
    spans = sorted((ad_break.first, ad_break.end) for ad_break in ad_breaks)
    while spans:
        first, end = spans.pop(0)
        while spans and spans[0][0] <= end:
            end = max(end, spans.pop(0)[1])
        yield first, end


def _multiples(first: int, end: int, divisor: int) -> int:
    """How many multiples of `divisor` are from `first` up to and without `end`; 0 if there are none in between."""
    return max(0, (end - 1) // divisor - (first - 1) // divisor)
