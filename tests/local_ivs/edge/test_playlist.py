"""Players can read the playlist."""

from __future__ import annotations

import re

from tests.local_ivs.ladder import Ladder
from tokensvc.local_ivs.edge.playlist import render, renditions_up_to

RENDITIONS = Ladder().renditions


def test_every_rendition_has_its_media_attributes_and_url() -> None:
    lines = render(RENDITIONS, "http://h:1", "SESSION").splitlines()
    assert lines[0] == "#EXTM3U"
    variants = [(lines[n - 1], lines[n]) for n, line in enumerate(lines) if not line.startswith("#")]
    assert len(variants) == len(RENDITIONS)
    for (tag, url), rendition in zip(variants, RENDITIONS, strict=True):
        found = re.fullmatch(
            r'#EXT-X-STREAM-INF:BANDWIDTH=(\d+),RESOLUTION=(\d+)x(\d+),CODECS="[^"]+",VIDEO="(\w+)",FRAME-RATE=[\d.]+',
            tag,
        )
        assert found is not None
        assert int(found[3]) == rendition.height
        assert url == f"http://h:1/v1/playlist/SESSION.{found[4]}.m3u8"
        assert f'#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="{found[4]}",NAME="{found[4]}",AUTOSELECT=YES,DEFAULT=YES' in lines


def test_without_a_maximum_resolution_all_renditions_remain() -> None:
    assert renditions_up_to(RENDITIONS, None) == list(RENDITIONS)
