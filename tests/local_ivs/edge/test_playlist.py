"""Players can read the playlist."""

from __future__ import annotations

import re

from tokensvc.local_ivs.edge.playlist import STANDARD_LADDER, render, renditions_up_to


def test_every_rendition_has_its_media_attributes_and_url() -> None:
    lines = render(STANDARD_LADDER, "http://h:1", "SESSION").splitlines()
    assert lines[0] == "#EXTM3U"
    variants = [(lines[n - 1], lines[n]) for n, line in enumerate(lines) if not line.startswith("#")]
    assert len(variants) == len(STANDARD_LADDER)
    for (tag, url), rendition in zip(variants, STANDARD_LADDER, strict=True):
        found = re.fullmatch(
            r'#EXT-X-STREAM-INF:BANDWIDTH=(\d+),RESOLUTION=(\d+)x(\d+),CODECS="[^"]+",VIDEO="(\w+)",FRAME-RATE=[\d.]+',
            tag,
        )
        assert found is not None
        assert int(found[3]) == rendition.height
        assert url == f"http://h:1/v1/playlist/SESSION.{found[4]}.m3u8"
        assert f'#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="{found[4]}",NAME="{found[4]}",AUTOSELECT=YES,DEFAULT=YES' in lines


def test_without_a_maximum_resolution_all_renditions_remain() -> None:
    assert renditions_up_to(STANDARD_LADDER, None) == list(STANDARD_LADDER)
