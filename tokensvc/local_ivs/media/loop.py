"""What the local edge plays: a picture that repeats, cut into segments.

Invariants
- A segment is MPEG-TS of 2 seconds. It starts with PAT, PMT and a key frame, so that a player can start at any of them
  (RFC 8216 section 3.2), and its PMT declares the stream of timed metadata, whether there is any or not.
- Within one pass through a loop the timestamps run on; the next pass and the slate are a discontinuity.
- A loop never changes. What is made anew gets another `media_id`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

SEGMENT_SECONDS = 2
"""INFERRED: Segments of a low-latency channel have 2 seconds."""


class Rendition(NamedTuple):
    """One rendition, as a multivariant playlist describes it (RFC 8216 section 4.3.4.2)."""

    width: int
    height: int
    frame_rate: int
    bandwidth: int
    """The highest bit rate of a segment, timed metadata included."""
    codecs: str

    @property
    def name(self) -> str:
        return f"{self.height}p{self.frame_rate}"


class MediaLoop(Protocol):
    """A picture that repeats."""

    @property
    def media_id(self) -> str:
        """Identifies the loop. It is stored in a session, whose loop never changes."""

    @property
    def renditions(self) -> tuple[Rendition, ...]:
        """Highest first."""

    @property
    def segments(self) -> int:
        """How many segments one pass has."""

    def segment(self, rendition: str, position: int) -> bytes:
        """A segment of a rendition, with 0 <= position < segments.

        Raises KeyError if there is no such rendition, IndexError if there is no such position.
        """

    def slate(self, rendition: str) -> bytes:
        """One segment that is shown during ad breaks. Raises KeyError if there is no such rendition."""


class MediaLibrary(Protocol):
    """Which loop a channel plays."""

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:
        """The loop of a new session. Returns immediately: what is not made yet is made for later sessions."""

    def loop(self, media_id: str) -> MediaLoop | None:
        """The loop of a running session; None if it no longer exists."""
