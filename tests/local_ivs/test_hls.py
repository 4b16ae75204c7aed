"""The reader of playlists in these tests accepts the edge's playlists, and no playlist that a strict player rejects."""

from __future__ import annotations

import pytest

from tests.local_ivs.environment import START
from tests.local_ivs.hls import read_media_playlist, read_multivariant_playlist
from tests.local_ivs.ladder import Ladder
from tests.support.case_ids import stable_repr
from tokensvc.local_ivs.edge import media_playlist, playlist
from tokensvc.local_ivs.edge.window import AdBreak, live_window

NOW = int(START)
WITH_ADS = live_window(NOW + 14, NOW, 30, (AdBreak("a", NOW + 4, 4), AdBreak("b", NOW + 8, 2)))
MEDIA = media_playlist.render(WITH_ADS, "http://127.0.0.1:1/v1/segment/S.480p30.")
MULTIVARIANT = playlist.render(Ladder().renditions, "http://127.0.0.1:1", "S")


def test_the_playlists_of_the_edge_are_valid() -> None:
    found = read_media_playlist(MEDIA.encode())
    assert (len(found.segments), sum(len(segment.dateranges) for segment in found.segments)) == (6, 2)
    assert len(read_multivariant_playlist(MULTIVARIANT.encode()).playlists) == len(Ladder().renditions)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#EXTM3U\n", ""),
        ("#EXT-X-TARGETDURATION:2\n", ""),
        ("#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:1\n"),
        ("#EXT-X-MEDIA-SEQUENCE:7\n", ""),
        ("#EXT-X-MEDIA-SEQUENCE:7\n", "#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MEDIA-SEQUENCE:7\n"),
        ("#EXT-X-DISCONTINUITY-SEQUENCE:1\n", ""),
        ("#EXTINF:2.000,live\n", ""),
        ("#EXTINF:2.000,live\n", "#EXTINF:2.000\n"),
        ("#EXTM3U\n", "#EXTM3U\n\n"),
        ('START-DATE="2027-01-15T08:00:04.000Z",', ""),
        ('CLASS="live-video-net-stitched-ad",', 'CLASS="a"b",'),
        ('"stitched-ad-1800000008-2000000000"', '"stitched-ad-1800000004-4000000000"'),
        ("#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n#EXT-X-UNKNOWN\n"),
        ("#EXT-X-VERSION:3\n", '#EXT-X-VERSION:3\n#EXT-X-SESSION-DATA:DATA-ID="a",VALUE="b"\n'),
    ],
    ids=stable_repr,
)
def test_invalid_media_playlists_are_rejected(old: str, new: str) -> None:
    assert old in MEDIA
    with pytest.raises(AssertionError):
        read_media_playlist(MEDIA.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#EXTM3U\n", ""),
        ("BANDWIDTH=", "BITRATE="),
        ('VIDEO="480p30"', 'VIDEO="481p30"'),
        ("TYPE=VIDEO,", ""),
        ("http://127.0.0.1:1/v1/playlist/S.480p30.m3u8\n", ""),
        ("#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n"),
    ],
    ids=stable_repr,
)
def test_invalid_multivariant_playlists_are_rejected(old: str, new: str) -> None:
    assert old in MULTIVARIANT
    with pytest.raises(AssertionError):
        read_multivariant_playlist(MULTIVARIANT.replace(old, new, 1).encode())
