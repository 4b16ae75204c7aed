"""The text of a media playlist: one rendition of a session, live.

Invariants
- The form follows RFC 8216. Titles and EXT-X-DATERANGE of ad breaks have the form of the sample in the IVS user guide
  ("Server-Side Ad Insertion"): the title `live` or a UUID, and the class `live-video-net-stitched-ad`.
- INFERRED: The `START-DATE` and `DURATION` of an ad break are those of its slate, and the number of nanoseconds in its
  `ID` is its duration.
- EXT-X-PROGRAM-DATE-TIME is on each segment: the time at which it was sent, by the local IVS's clock.
- Segment URLs carry no token: they are bound to the viewer's session.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from tokensvc.local_ivs.edge.window import AdBreak, LiveWindow
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS

_URL_PREFIX = "\0"
"""Where the URL of a segment is inserted. No other part of a playlist contains it."""
_MAX_CACHED_TEXTS = 256
_NANOSECONDS = 1_000_000_000


def render(window: LiveWindow, segment_url_prefix: str) -> str:
    """The text of the playlist. The URL of segment n is the prefix, n and `.ts`."""
    return _template(window).replace(_URL_PREFIX, segment_url_prefix)


@lru_cache(maxsize=_MAX_CACHED_TEXTS)
def _template(window: LiveWindow) -> str:
    """The text that is the same for all sessions that see the same window."""
    return "\n".join(_lines(window)) + "\n"


def _lines(window: LiveWindow) -> Iterator[str]:
    yield "#EXTM3U"
    yield "#EXT-X-VERSION:3"
    yield f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}"
    yield f"#EXT-X-MEDIA-SEQUENCE:{window.media_sequence}"
    yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{window.discontinuity_sequence}"
    announced: set[str] = set()
    for segment in window.segments:
        ad_break = segment.ad_break
        if ad_break is not None and ad_break.ad_break_id not in announced:
            announced.add(ad_break.ad_break_id)
            yield _date_range(ad_break)
        if segment.is_discontinuous:
            yield "#EXT-X-DISCONTINUITY"
        yield f"#EXT-X-PROGRAM-DATE-TIME:{_date(segment.starts_at)}"
        yield f"#EXTINF:{SEGMENT_SECONDS:.3f},{'live' if ad_break is None else _ad_title(ad_break)}"
        yield f"{_URL_PREFIX}{segment.number}.ts"


def _date_range(ad_break: AdBreak) -> str:
    starts_at = ad_break.first * SEGMENT_SECONDS
    duration = (ad_break.end - ad_break.first) * SEGMENT_SECONDS
    return (
        f'#EXT-X-DATERANGE:ID="stitched-ad-{starts_at}-{duration * _NANOSECONDS}",CLASS="live-video-net-stitched-ad",'
        f'START-DATE="{_date(starts_at)}",DURATION={duration:.3f},'
        f'X-NET-LIVE-VIDEO-AD-AD-BREAK-ID="{ad_break.ad_break_id}"'
    )


def _ad_title(ad_break: AdBreak) -> str:
    """A UUID, the same in all sessions and processes."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, ad_break.ad_break_id))


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
