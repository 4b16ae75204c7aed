"""The multivariant playlist: which renditions a viewer gets, and their URLs.

Invariants
- The form follows RFC 8216 and IVS's own playlists as publicly seen (one EXT-X-MEDIA of type VIDEO per rendition, named
  after height and frame rate).
- INFERRED: The renditions are those of the picture that the edge plays, whatever the encoder sends and whatever the
  channel's type.
- Variant URLs carry no token: they are bound to the viewer's session (IVS user guide, "Session Protection").
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from tokensvc.local_ivs.media.loop import Rendition

MAX_HEIGHT = {"SD": 480, "HD": 720, "FULL_HD": 1080}
"""INFERRED: `aws:maximum-resolution` limits the height of renditions to 480 (SD), 720 (HD) or 1080 pixels (FULL_HD).
The page about tokens gives no numbers; these are those of the quotas for multitrack input."""


def renditions_up_to(ladder: Iterable[Rendition], maximum_resolution: str | None) -> list[Rendition]:
    """The renditions within a token's `aws:maximum-resolution`; all if it is None."""
    limit = MAX_HEIGHT[maximum_resolution] if maximum_resolution else None
    return [rendition for rendition in ladder if limit is None or rendition.height <= limit]


def render(renditions: Iterable[Rendition], base_url: str, session_id: str) -> str:
    """The text of the playlist."""
    return _template(tuple(renditions), base_url).replace(_SESSION_ID, session_id)


_SESSION_ID = "\0"
"""Stands for the session id; no URL has this character."""


@lru_cache(maxsize=64)
def _template(renditions: tuple[Rendition, ...], base_url: str) -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines.append(f'#EXT-X-SESSION-DATA:DATA-ID="VIDEO-SESSION-ID",VALUE="{_SESSION_ID}"')
    for rendition in renditions:
        name = rendition.name
        attributes = (
            f"BANDWIDTH={rendition.bandwidth}",
            f"RESOLUTION={rendition.width}x{rendition.height}",
            f'CODECS="{rendition.codecs}"',
            f'VIDEO="{name}"',
            f"FRAME-RATE={rendition.frame_rate:.3f}",
        )
        lines.append(f'#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="{name}",NAME="{name}",AUTOSELECT=YES,DEFAULT=YES')
        lines.append(f"#EXT-X-STREAM-INF:{','.join(attributes)}")
        lines.append(f"{base_url}/v1/playlist/{_SESSION_ID}.{name}.m3u8")
    return "\n".join(lines) + "\n"
