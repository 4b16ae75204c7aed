"""What an encoder sends: tracks of video and audio, and the limits that apply to them.

Invariants
- The form is the service model's IngestConfigurations. The default is DEFAULT_INGEST.
- Limits: IVS user guide, "Service Quotas", ingest bitrate and resolution.
- INFERRED: The limit of the ingest bitrate applies to all video tracks together, and that of the resolution to each
  track; 0.4 and 0.9 million pixels are 480p and 720p, rounded.
- INFERRED: A breach of an ingest limit is reported (event, `hasErrorEvent`) and the stream goes on; the API reference
  says that it "probably will disconnect immediately".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Ingest = Mapping[str, Any]

DEFAULT_INGEST: Ingest = {
    "videoConfigurations": [
        {
            "codec": "avc1.4D401F",
            "encoder": "simulator",
            "level": "4.0",
            "profile": "Main",
            "targetBitrate": 1_400_000,
            "targetFramerate": 30,
            "track": "Track0",
            "videoHeight": 480,
            "videoWidth": 852,
        }
    ],
    "audioConfigurations": [
        {"channels": 2, "codec": "mp4a.40.2", "sampleRate": 48_000, "targetBitrate": 128_000, "track": "Track0"}
    ],
}
"""Within the limits of every channel type."""

_DEPRECATED_VIDEO = {"profile": "avcProfile", "level": "avcLevel"}
BITRATES = {"STANDARD": 8_500_000, "ADVANCED_HD": 8_500_000, "ADVANCED_SD": 8_500_000}
BASIC_BITRATE_SMALL, BASIC_BITRATE = 1_500_000, 3_500_000
_BASIC_SMALL_HEIGHT = 480
MULTITRACK_BITRATE = 15_000_000


class FrameLimit(NamedTuple):
    """The maximum size of a video frame."""

    pixels: int
    edge: int


_SINGLE_TRACK_FRAME = FrameLimit(2_100_000, 1920)
_MULTITRACK_FRAMES = {
    "SD": FrameLimit(864 * 480, 864),
    "HD": FrameLimit(1280 * 720, 1280),
    "FULL_HD": _SINGLE_TRACK_FRAME,
}


class LimitBreach(NamedTuple):
    """A limit and by how much it is exceeded, with the names of the event's members."""

    limit_name: str
    limit_value: int
    exceeded_by: int
    limit_unit: str


def first_track(ingest: Ingest) -> dict[str, Any]:
    """The deprecated `ingestConfiguration`: Track0, with profile and level under their old names too."""
    configuration: dict[str, Any] = {}
    if videos := ingest["videoConfigurations"]:
        old_names = {old: videos[0][new] for new, old in _DEPRECATED_VIDEO.items() if new in videos[0]}
        configuration["video"] = {**videos[0], **old_names}
    if audios := ingest["audioConfigurations"]:
        configuration["audio"] = audios[0]
    return configuration


def all_tracks(ingest: Ingest) -> dict[str, Any]:
    """`ingestConfigurations`, without the names that only the deprecated form has."""
    old_names = set(_DEPRECATED_VIDEO.values())
    videos = [{k: v for k, v in video.items() if k not in old_names} for video in ingest["videoConfigurations"]]
    return {**ingest, "videoConfigurations": videos}


def limit_breaches(channel: Mapping[str, Any], ingest: Ingest) -> Iterator[LimitBreach]:
    """The limits of the channel that these tracks exceed."""
    videos = ingest["videoConfigurations"]
    multitrack = channel["multitrackInputConfiguration"]
    height = max((video.get("videoHeight", 0) for video in videos), default=0)
    if multitrack["enabled"]:
        limit, frame = MULTITRACK_BITRATE, _MULTITRACK_FRAMES[multitrack["maximumResolution"]]
    elif channel["type"] == "BASIC":
        limit = BASIC_BITRATE_SMALL if height <= _BASIC_SMALL_HEIGHT else BASIC_BITRATE
        frame = _SINGLE_TRACK_FRAME
    else:
        limit, frame = BITRATES[channel["type"]], _SINGLE_TRACK_FRAME
    bitrate = sum(video.get("targetBitrate", 0) for video in videos)
    if bitrate > limit:
        yield LimitBreach("Ingest Bitrate", limit, bitrate - limit, "bits per second")
    for video in videos:
        sides = video.get("videoWidth", 0), video.get("videoHeight", 0)
        if max(sides) > frame.edge:
            yield LimitBreach("Ingest Resolution", frame.edge, max(sides) - frame.edge, "pixels per edge")
        elif sides[0] * sides[1] > frame.pixels:
            yield LimitBreach("Ingest Resolution", frame.pixels, sides[0] * sides[1] - frame.pixels, "total pixels")
