"""Playlists as a strict player reads them: m3u8's strict parser, and rules of RFC 8216 that it does not check.

Sections are those of RFC 8216. A playlist that breaks a rule is an AssertionError.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import m3u8

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",\s]+)(?:,|$)')
_MEDIA_TAGS = {
    *("#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE", "#EXT-X-DISCONTINUITY"),
    *("#EXTINF", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-DATERANGE"),
}
_MULTIVARIANT_TAGS = {"#EXT-X-MEDIA", "#EXT-X-STREAM-INF", "#EXT-X-SESSION-DATA"}
_EITHER = {"#EXTM3U", "#EXT-X-VERSION", "#EXT-X-INDEPENDENT-SEGMENTS"}
_REPEATED = {
    *("#EXTINF", "#EXT-X-DISCONTINUITY", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-DATERANGE"),
    *("#EXT-X-MEDIA", "#EXT-X-STREAM-INF"),
}


def read_media_playlist(body: bytes) -> m3u8.M3U8:
    """A live media playlist."""
    lines = _lines(body, _MEDIA_TAGS)
    tags = [_name(line) for line in lines]
    assert {"#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE"} <= set(tags), "4.3.3.1; 6.2.2: it removes segments"
    assert "#EXT-X-ENDLIST" not in tags
    if "#EXT-X-DISCONTINUITY" in tags:
        assert "#EXT-X-DISCONTINUITY-SEQUENCE" in tags, "6.2.2: it removes discontinuities"
    first_segment_tag = min(tags.index(tag) for tag in _REPEATED if tag in tags)
    for tag in ("#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"):
        assert tag not in tags or tags.index(tag) < first_segment_tag, f"4.3.3: {tag} is before all segments"
    assert tags[-1] == "", "4.3.2: the tags of a segment are followed by its URI"
    target = int(_value(lines[tags.index("#EXT-X-TARGETDURATION")]))
    for before, line in pairwise(lines):
        assert line.startswith("#") or before.startswith("#EXTINF:"), "4.3.2.1: EXTINF is required for each segment"
    for line in lines:
        if line.startswith("#EXTINF:"):
            duration = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?),.*", _value(line))
            assert duration, line
            assert round(float(duration[1])) <= target, "4.3.3.1"
    ranges = [_attributes(line) for line in lines if line.startswith("#EXT-X-DATERANGE:")]
    assert all({"ID", "START-DATE"} <= found.keys() for found in ranges), "4.3.2.7"
    assert len({found["ID"] for found in ranges}) == len(ranges), "4.3.2.7: one tag has all attributes of a range"
    assert not ranges or "#EXT-X-PROGRAM-DATE-TIME" in tags, "4.3.2.7"
    playlist = m3u8.M3U8(body.decode(), strict=True)
    assert not playlist.is_variant
    assert len(playlist.segments) == tags.count("")
    return playlist


def read_multivariant_playlist(body: bytes) -> m3u8.M3U8:
    """A multivariant playlist (master playlist)."""
    lines = _lines(body, _MULTIVARIANT_TAGS)
    assert not lines[-1].startswith("#EXT-X-STREAM-INF:"), "4.3.4.2: the URI follows"
    for before, line in pairwise(lines):
        assert line.startswith("#") != before.startswith("#EXT-X-STREAM-INF:"), "4.3.4.2: the URI follows"
    variants, media = (
        [_attributes(line) for line in lines if line.startswith(f"{tag}:")]
        for tag in ("#EXT-X-STREAM-INF", "#EXT-X-MEDIA")
    )
    assert variants
    assert all(int(found.get("BANDWIDTH", "0")) > 0 for found in variants), "4.3.4.2"
    assert all({"TYPE", "GROUP-ID", "NAME"} <= found.keys() for found in media), "4.3.4.1"
    groups = {found["GROUP-ID"] for found in media if found["TYPE"] == "VIDEO"}
    assert {found["VIDEO"] for found in variants if "VIDEO" in found} <= groups, "4.3.4.2"
    defaults = Counter((found["TYPE"], found["GROUP-ID"]) for found in media if found.get("DEFAULT") == "YES")
    assert set(defaults.values()) <= {1}, "4.3.4.1.1"
    playlist = m3u8.M3U8(body.decode(), strict=True)
    assert playlist.is_variant
    assert len(playlist.playlists) == len(variants)
    return playlist


def _lines(body: bytes, tags: set[str]) -> list[str]:
    """The lines of a playlist with these tags, apart from those of every playlist."""
    text = body.decode()
    assert text.startswith("#EXTM3U\n"), "4.1: no byte order mark; 4.3.1.1: the first line"
    assert text.endswith("\n")
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text) is None, "4.1: no control characters"
    lines = text.splitlines()
    assert all(line and line.strip() == line for line in lines), "4.1"
    found = Counter(_name(line) for line in lines if line.startswith("#"))
    assert set(found) <= tags | _EITHER, "4.1: tags of one kind of playlist only, all of them known"
    assert {tag for tag, number in found.items() if number > 1} <= _REPEATED
    assert found["#EXT-X-VERSION"] == 1
    return lines


def _name(line: str) -> str:
    """The name of a tag; "" for a URI."""
    return line.partition(":")[0] if line.startswith("#") else ""


def _value(line: str) -> str:
    return line.partition(":")[2]


def _attributes(line: str) -> dict[str, str]:
    """An attribute list (4.2)."""
    found = _ATTRIBUTE.findall(_value(line))
    assert ",".join(f"{name}={value}" for name, value in found) == _value(line), f"4.2: {line}"
    assert len(dict(found)) == len(found), f"4.2: no name twice: {line}"
    return {name: value.strip('"') for name, value in found}
