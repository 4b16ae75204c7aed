"""A media library with any renditions. Its segments are the ready-made one, each with a label to recognize it by."""

from __future__ import annotations

from collections.abc import Sequence

from tokensvc.local_ivs.media.loop import MediaLoop, Rendition
from tokensvc.local_ivs.media.ready_made import RENDITION, ReadyMadeLoop
from tokensvc.local_ivs.media.transport_stream import PACKET_BYTES

_READY_MADE = ReadyMadeLoop().segment(RENDITION.name, 0)

SIZES = {1080: 1920, 720: 1280, 480: 852, 360: 640, 160: 284}


class Ladder:
    """A library with one loop, which is that loop."""

    media_id = "ladder"

    def __init__(self, heights: Sequence[int] = (1080, 720, 480), segments: int = 30) -> None:
        self.renditions = tuple(
            Rendition(SIZES[height], height, 30, height * 4000, "avc1.4D401F,mp4a.40.2") for height in heights
        )
        self.segments = segments

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:
        return self

    def loop(self, media_id: str) -> MediaLoop | None:
        return self if media_id == self.media_id else None

    def segment(self, rendition: str, position: int) -> bytes:
        return _READY_MADE + _packet(f"{rendition} {position}")

    def slate(self, rendition: str) -> bytes:
        return _READY_MADE + _packet(f"{rendition} slate")


def label_of(segment: bytes) -> str:
    """`480p30 5` for position 5 of that rendition, `480p30 slate` for its slate."""
    return segment[-PACKET_BYTES + 4 :].rstrip(b"\xff").decode()


def _packet(label: str) -> bytes:
    """A null packet of a transport stream, which players skip, with a label as its payload."""
    return b"\x47\x1f\xff\x10" + label.encode().ljust(PACKET_BYTES - 4, b"\xff")
