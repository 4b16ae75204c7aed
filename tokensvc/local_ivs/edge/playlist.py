"""The multivariant playlist: which renditions a viewer may have, and where.

Rules of the file
- The form follows RFC 8216, and what is publicly seen of IVS's own playlists (one EXT-X-MEDIA of type VIDEO per
  rendition, named after height and frame rate).
- Variant URLs carry no token: they are tied to the viewer's session (IVS user guide, "Session Protection").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Rendition(NamedTuple):
    """One variant of the stream."""

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
"""What a STANDARD channel makes of a Full HD input. INFERRED: the rates, and 30 frames."""

MAX_HEIGHT = {"SD": 480, "HD": 720, "FULL_HD": 1080}
"""INFERRED: the heights that `aws:maximum-resolution` allows. The token's page gives none; the quotas for multitrack
input call SD 480p, HD 720p and FULL_HD 1080p."""

_CODECS = "avc1.4D401F,mp4a.40.2"


def renditions_up_to(ladder: Iterable[Rendition], maximum_resolution: str | None) -> list[Rendition]:
    """The renditions that a token's `aws:maximum-resolution` leaves."""
    limit = MAX_HEIGHT[maximum_resolution] if maximum_resolution else None
    return [rendition for rendition in ladder if limit is None or rendition.height <= limit]


def render(renditions: Iterable[Rendition], base_url: str, session_id: str) -> str:
    """The playlist's text."""
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
