"""Turns a file's streams into segments: what is fit for them is copied, the rest is encoded.

Invariants
- Times are counted from the first picture, in all streams.
- An encoded picture has as many frames as its segments need: what is missing at the end is the last frame again.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import BlockingIOError as NeedsMoreInput
from av.error import EOFError as AtEnd
from av.filter import Graph
from av.filter.context import FilterContext
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from tokensvc.local_ivs.media.encoding import SAMPLE_RATE, Quality, add_audio, add_video
from tokensvc.local_ivs.media.inspection import Inspection, fraction, packet_time
from tokensvc.local_ivs.media.progress import Progress, WholePercents
from tokensvc.local_ivs.media.segmenter import Segmenter, segmenter

_QUALITY = Quality("superfast", 23)


def transcode(source: InputContainer, found: Inspection, progress: Progress) -> list[bytes]:
    """The segments of a file. Raises FFmpegError if it cannot be decoded."""
    percents = WholePercents(progress)
    with segmenter() as output:
        tracks = {track.stream: track for track in _tracks(source, output, found)}
        for packet in source.demux(*tracks):
            tracks[packet.stream].put(packet)
            if (time := packet_time(packet)) is not None:
                percents.report(min(float(time - found.start) / found.seconds, 1.0))
        for track in tracks.values():
            track.finish()
    percents.report(1.0)
    return output.segments[: found.segments]


class _Track(Protocol):
    """A stream of the file on its way to the segments."""

    @property
    def stream(self) -> Stream: ...

    def put(self, packet: Packet[Any]) -> None:
        """A packet of the stream; the last one, which marks the end of the stream, is empty."""

    def finish(self) -> None: ...


def _tracks(source: InputContainer, output: Segmenter, found: Inspection) -> Iterator[_Track]:
    video = source.streams.video[0]
    yield _EncodedVideo(video, output, found) if found.filters else _Copied(video, output, found)
    for audio in source.streams.audio[:1]:
        is_fit = audio.codec_context.name == "aac" and audio.codec_context.profile == "LC"
        yield _Copied(audio, output, found) if is_fit else _EncodedAudio(audio, output, found)


class _Copied:
    """Packets that stay as they are."""

    def __init__(self, stream: VideoStream | AudioStream, output: Segmenter, found: Inspection) -> None:
        self.stream = stream
        self._output, self._found = output, found
        self._copy = output.container.add_stream_from_template(stream)

    def put(self, packet: Packet[Any]) -> None:
        time = packet_time(packet)
        if time is None or packet.pts is None or packet.dts is None or time - self._found.start >= self._found.seconds:
            return
        start = round(self._found.start / fraction(packet.time_base))
        packet.pts, packet.dts = packet.pts - start, packet.dts - start
        packet.stream = self._copy
        self._output.container.mux(packet)

    def finish(self) -> None:
        """Nothing is held back."""


class _EncodedVideo:
    """A picture that is brought to its size and encoded."""

    def __init__(self, stream: VideoStream, output: Segmenter, found: Inspection) -> None:
        self.stream = stream
        self._output = output
        self._video = add_video(output, found.size, found.frame_rate, found.colours, _QUALITY)
        self._graph = Graph()
        _link(self._graph, self._graph.add_buffer(stream), (*found.filters, "buffersink"))
        self._numbers = iter(range(found.seconds * found.frame_rate))
        self._time_base = Fraction(1, found.frame_rate)
        self._last: VideoFrame | None = None

    def put(self, packet: Packet[VideoStream]) -> None:
        for frame in packet.decode():
            self._filter(frame)

    def finish(self) -> None:
        self._filter(None)
        while self._last and self._encode(self._last):  # what is missing of the last segment
            pass
        self._output.container.mux(self._video.encode(None))

    def _filter(self, frame: VideoFrame | None) -> None:
        self._graph.push(frame)
        for filtered in _filtered(self._graph):
            self._encode(filtered)

    def _encode(self, frame: VideoFrame) -> bool:
        """Encode a picture. Returns False if there are as many as the segments have."""
        if (number := next(self._numbers, None)) is None:
            return False
        frame.pts, frame.time_base, frame.pict_type = number, self._time_base, PictureType.NONE
        self._output.container.mux(self._video.encode(frame))
        self._last = frame
        return True


class _EncodedAudio:
    """Sound that is brought to one sample rate, without gaps, and encoded."""

    def __init__(self, stream: AudioStream, output: Segmenter, found: Inspection) -> None:
        self.stream = stream
        self._output, self._found = output, found
        layout = "mono" if stream.channels == 1 else "stereo"
        self._audio = add_audio(output, layout)
        self._graph = Graph()
        gapless = (f"asetpts=PTS-({found.start})/TB", "aresample=async=1000:first_pts=0")
        samples = f"aformat=sample_fmts=fltp:sample_rates={SAMPLE_RATE}:channel_layouts={layout}"
        _link(self._graph, self._graph.add_abuffer(stream), (*gapless, samples, "abuffersink"))

    def put(self, packet: Packet[AudioStream]) -> None:
        for frame in packet.decode():
            self._filter(frame)

    def finish(self) -> None:
        self._filter(None)
        self._output.container.mux(self._audio.encode(None))

    def _filter(self, frame: AudioFrame | None) -> None:
        self._graph.push(frame)
        for filtered in _filtered(self._graph):
            if (filtered.time or 0) < self._found.seconds:
                self._output.container.mux(self._audio.encode(filtered))


def _link(graph: Graph, source: FilterContext, filters: tuple[str, ...]) -> None:
    """Connect filters in a row, each written as `name` or `name=arguments`."""
    specified = (filter_.partition("=") for filter_ in filters)
    graph.link_nodes(source, *(graph.add(name, arguments or None) for name, _, arguments in specified)).configure()


def _filtered(graph: Graph) -> Iterator[Any]:
    """The frames that a graph has ready."""
    while True:
        try:
            yield graph.pull()
        except (NeedsMoreInput, AtEnd):
            return
