"""Encodes a moving picture and its tone into segments, with PyAV: H.264 by x264, AAC by FFmpeg's own encoder.

Invariants
- Each segment begins with an IDR frame and has no other. There are no B-frames: pictures are decoded in the order in
  which they are shown.
- The tone sounds while the picture's spot is lit.
"""

from __future__ import annotations

from array import array
from enum import Enum, auto
from fractions import Fraction
from math import pi, sin
from typing import NamedTuple

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tokensvc.local_ivs.media.canvas import Canvas
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.progress import Progress
from tokensvc.local_ivs.media.segmenter import Segmenter, segmenter
from tokensvc.local_ivs.media.test_card import FLASH_FRAMES, FRAME_RATE, Picture, Size

SAMPLE_RATE = 48_000
_BIT_RATE_PER_CHANNEL = 48_000
_TONE_HZ = 880
_TONE_LEVEL = 0.25
_FADE_SAMPLES = 240
_LIMITED_RANGE = 1


class Sound(Enum):
    """What is heard with a picture: a tone at each full second, silence, or no audio stream at all."""

    TONE = auto()
    SILENCE = auto()
    NONE = auto()


class Colours(NamedTuple):
    """What a stream says about its colours, in FFmpeg's enumerations. A player guesses what is not said."""

    space: int
    primaries: int
    transfer: int


BT_709 = Colours(1, 1, 1)


class Quality(NamedTuple):
    """How x264 encodes. The quantizer is constant: that costs least, and a bit rate is of no use here."""

    preset: str
    quantizer: int


LIVE = Quality("ultrafast", 22)
SMALL = Quality("veryslow", 30)


def encode(
    picture: Picture, size: Size, seconds: int, *, sound: Sound, quality: Quality, progress: Progress
) -> list[bytes]:
    """The segments of a picture."""
    frames = seconds * FRAME_RATE
    with segmenter() as output:
        video = add_video(output, size, FRAME_RATE, BT_709, quality)
        audio = add_audio(output, "mono") if sound is not Sound.NONE else None
        second_of_sound = _second_of_sound(tone=sound is Sound.TONE)
        for number in range(frames):
            if audio and number % FRAME_RATE == 0:
                output.container.mux(audio.encode(_audio_frame(second_of_sound, number // FRAME_RATE)))
            output.container.mux(video.encode(_video_frame(picture.frame(number), number)))
            progress((number + 1) / frames)
        output.container.mux(video.encode(None))
        if audio:
            output.container.mux(audio.encode(None))
    return output.segments


def add_video(output: Segmenter, size: Size, frame_rate: int, colours: Colours, quality: Quality) -> VideoStream:
    """Add a stream whose frames have these colours, in limited range."""
    interval = SEGMENT_SECONDS * frame_rate
    parameters = f"keyint={interval}:min-keyint={interval}:scenecut=0:bframes=0:ref=1:cabac=1"
    options = {"preset": quality.preset, "qp": str(quality.quantizer), "profile": "main", "x264-params": parameters}
    video = output.container.add_stream("libx264", rate=frame_rate, options=options)
    video.width, video.height = size
    video.pix_fmt = "yuv420p"
    context = video.codec_context
    context.color_range = _LIMITED_RANGE
    context.colorspace, context.color_primaries, context.color_trc = colours
    return video


def add_audio(output: Segmenter, layout: str) -> AudioStream:
    audio = output.container.add_stream("aac", rate=SAMPLE_RATE, layout=layout)
    audio.bit_rate = _BIT_RATE_PER_CHANNEL * audio.channels
    return audio


def _video_frame(canvas: Canvas, number: int) -> VideoFrame:
    frame = VideoFrame(canvas.width, canvas.height, "yuv420p")
    for plane, source, shift in zip(frame.planes, canvas.planes, (0, 1, 1), strict=True):
        width, stride = canvas.width >> shift, plane.line_size
        target, rows = memoryview(plane), memoryview(source)
        if stride == width:
            target[:] = rows
        else:
            for row in range(canvas.height >> shift):
                target[row * stride : row * stride + width] = rows[row * width : (row + 1) * width]
    frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
    return frame


def _second_of_sound(*, tone: bool) -> bytes:
    """A second of 16-bit samples: a short tone with soft edges, then silence."""
    sounding = SAMPLE_RATE * FLASH_FRAMES // FRAME_RATE if tone else 0
    samples = array("h", bytes(2 * SAMPLE_RATE))
    for number in range(sounding):
        edge = min(number, sounding - number, _FADE_SAMPLES) / _FADE_SAMPLES
        samples[number] = round(32767 * _TONE_LEVEL * edge * sin(2 * pi * _TONE_HZ * number / SAMPLE_RATE))
    return samples.tobytes()


def _audio_frame(samples: bytes, second: int) -> AudioFrame:
    frame = AudioFrame("s16", "mono", SAMPLE_RATE)
    frame.sample_rate = SAMPLE_RATE
    frame.planes[0].update(samples)
    frame.pts, frame.time_base = second * SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
    return frame
