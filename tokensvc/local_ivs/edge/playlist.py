"""The multivariant playlist: which renditions a viewer gets, and their URLs.

Invariants
- The form follows RFC 8216 and IVS's own playlists as publicly seen (one EXT-X-MEDIA of type VIDEO per rendition, named
  after height and frame rate).
- Variant URLs carry no token: they are bound to the viewer's session (IVS user guide, "Session Protection").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Rendition(NamedTuple):
    """One rendition of a stream."""

    width: int
    height: int
    frame_rate: int
    bandwidth: int

    @property
    def name(self) -> str:
        return f"{self.height}p{self.frame_rate}"


STANDARD_LADDER = (
    Rendition(1920, 1080, 30, 5_300_000),
    Rendition(1280, 720, 30, 2_600_000),
    Rendition(852, 480, 30, 1_500_000),
    Rendition(640, 360, 30, 780_000),
    Rendition(284, 160, 30, 330_000),
)
"""The renditions of a STANDARD channel with Full HD input.

INFERRED: Every channel has the same renditions, from 160p to 1080p with 30 frames per second, whatever is ingested.
"""

MAX_HEIGHT = {"SD": 480, "HD": 720, "FULL_HD": 1080}
"""INFERRED: `aws:maximum-resolution` limits the height of renditions to 480 (SD), 720 (HD) or 1080 pixels (FULL_HD).
The page about tokens gives no numbers; these are those of the quotas for multitrack input."""

_CODECS = "avc1.4D401F,mp4a.40.2"


def renditions_up_to(ladder: Iterable[Rendition], maximum_resolution: str | None) -> list[Rendition]:
    """The renditions within a token's `aws:maximum-resolution`; all if it is None."""
    limit = MAX_HEIGHT[maximum_resolution] if maximum_resolution else None
    return [rendition for rendition in ladder if limit is None or rendition.height <= limit]


def render(renditions: Iterable[Rendition], base_url: str, session_id: str) -> str:
    """The text of the playlist."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines.append(f'#EXT-X-SESSION-DATA:DATA-ID="VIDEO-SESSION-ID",VALUE="{session_id}"')
    for rendition in renditions:
        name = rendition.name
        attributes = (
            f"BANDWIDTH={rendition.bandwidth}",
            f"RESOLUTION={rendition.width}x{rendition.height}",
            f'CODECS="{_CODECS}"',
            f'VIDEO="{name}"',
            f"FRAME-RATE={rendition.frame_rate:.3f}",
        )
        lines.append(f'#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="{name}",NAME="{name}",AUTOSELECT=YES,DEFAULT=YES')
        lines.append(f"#EXT-X-STREAM-INF:{','.join(attributes)}")
        lines.append(f"{base_url}/v1/playlist/{session_id}.{name}.m3u8")
    return "\n".join(lines) + "\n"
