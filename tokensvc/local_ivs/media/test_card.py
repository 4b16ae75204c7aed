"""The pictures that the local edge shows: a test card with the running second, colour bars, and the slate of ad breaks.

Invariants
- A picture depends on its number alone: the test card repeats after 60 seconds, colour bars and slate after 2.
- In all of them a marker crosses the picture once in 2 seconds, which is one segment. In the test card and the colour
  bars a spot lights up for the first frames of each second, with the tone: picture and sound can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from typing import NamedTuple, Protocol

from tokensvc.local_ivs.media.canvas import DESIGN_HEIGHT, DESIGN_WIDTH, Canvas, Colour, Mask, rgb
from tokensvc.local_ivs.media.glyphs import Line, advance, text_lines, text_width
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS

FRAME_RATE = 30
FLASH_FRAMES = 4
"""The spot is lit, and the tone sounds, for this part of a second."""
SECONDS = 60
"""After which the test card repeats."""

_PAPER, _PANEL, _GRID = rgb(0x0E1624), rgb(0x16212F), rgb(0x1B2A3F)
_INK, _MUTED, _DIM, _ACCENT = rgb(0xF2F5F9), rgb(0x8FA3BD), rgb(0x33455E), rgb(0xFF8A1F)
_SLATE_PAPER, _SLATE_MUTED = rgb(0x2A1B3D), rgb(0xB9A3D6)
_BARS = [rgb(colour) for colour in (0xBFBFBF, 0xBFBF00, 0x00BFBF, 0x00BF00, 0xBF00BF, 0xBF0000, 0x0000BF)]
_BLACK = rgb(0)
_MARGIN = 96
_STRIP = (928, 1032)
"""From where to where the bars of the test card reach, in which its marker moves."""
_LINE = (1010, 1040)
"""The same of the other pictures' marker."""
_NAME_HEIGHTS = (60, 50, 40, 32)
_LABEL_HEIGHT = 36
_STROKE = 0.13
"""The thickness of a letter, relative to its height."""


class Size(NamedTuple):
    """The size of a picture in pixels, both even."""

    width: int
    height: int


class Picture(Protocol):
    """A moving picture."""

    def frame(self, number: int) -> Canvas:
        """The picture at number / FRAME_RATE seconds. The next call draws on the same canvas."""


class TestCard:
    """A dial and digits that show the second, below the channel's name."""

    __test__ = False  # pytest takes it for a class of tests
    _X, _Y, _RADIUS = 488, 548, 270
    _DIGITS_X, _DIGITS_Y, _DIGITS_HEIGHT = 1135, 330, 260

    def __init__(self, name: str, label: str, size: Size) -> None:
        canvas = Canvas(*size, _PAPER)
        for x in range(0, DESIGN_WIDTH, 120):
            canvas.fill(x, 0, 3, DESIGN_HEIGHT, _GRID)
        for y in range(60, DESIGN_HEIGHT, 120):
            canvas.fill(0, y, DESIGN_WIDTH, 3, _GRID)
        canvas.fill(0, 0, DESIGN_WIDTH, 180, _PAPER)
        canvas.fill(_MARGIN, 216, 784, 664, _PANEL)
        canvas.fill(928, 216, 896, 664, _PANEL)
        _header(canvas, name, label, _PAPER, _MUTED)
        utc = canvas.mask(text_lines("UTC", 1376 - text_width("UTC", 80) / 2, 690, 80), 80 * _STROKE)
        canvas.stamp(utc, _MUTED, _PANEL)
        _bars(canvas, _BARS, *_STRIP)
        self._canvas, self._strip = canvas, canvas.band(*_STRIP)
        self._hub = canvas.mask([self._point(0, 0)], 56)
        self._dots = [canvas.mask([self._point(place, self._RADIUS)], 10 if place % 5 else 20) for place in range(60)]
        self._lit: list[bool | None] = [None] * len(self._dots)
        self._digits: dict[tuple[str, str], Mask] = {}
        self._second = -1
        self._of_second: list[Mask] = []
        """The hand and the digits, as they are drawn."""

    def frame(self, number: int) -> Canvas:
        second, frame = divmod(number, FRAME_RATE)
        if second != self._second:
            self._second = second
            self._draw_second(second % SECONDS)
        self._canvas.stamp(self._hub, _INK if frame < FLASH_FRAMES else _ACCENT, _PANEL)
        self._canvas.restore(self._strip)
        _marker(self._canvas, number, *_STRIP)
        return self._canvas

    def _draw_second(self, second: int) -> None:
        for place, dot in enumerate(self._dots):
            lit = place <= second
            if self._lit[place] is not lit:
                self._lit[place] = lit
                self._canvas.stamp(dot, _ACCENT if lit else _DIM, _PANEL)
        for mask in self._of_second:
            self._canvas.stamp(mask, _PANEL, _PANEL)
        inner, outer = self._point(second, 70), self._point(second, 215)
        hand = self._canvas.mask([Line(inner.x0, inner.y0, outer.x0, outer.y0)], 20)
        text = f":{second:02}"
        self._of_second = [hand, *(self._digit(text[:place], char) for place, char in enumerate(text))]
        for mask in self._of_second:
            self._canvas.stamp(mask, _INK, _PANEL)

    def _digit(self, before: str, char: str) -> Mask:
        """A character of the second, where it stands."""
        place = ":00"[: len(before)]
        if (place, char) not in self._digits:
            x = self._DIGITS_X + advance(place, self._DIGITS_HEIGHT)
            lines = text_lines(char, x, self._DIGITS_Y, self._DIGITS_HEIGHT)
            self._digits[place, char] = self._canvas.mask(lines, self._DIGITS_HEIGHT * _STROKE)
        return self._digits[place, char]

    def _point(self, second: int, radius: float) -> Line:
        """A point of the dial, as a line without length."""
        angle = second * 2 * pi / SECONDS
        x, y = self._X + radius * sin(angle), self._Y - radius * cos(angle)
        return Line(x, y, x, y)


class ColourBars:
    """Colour bars, for a loop that is as small as possible."""

    def __init__(self, name: str, label: str, size: Size) -> None:
        canvas = Canvas(*size, _BLACK)
        _bars(canvas, _BARS, 0, 720)
        _bars(canvas, [colour if place % 2 == 0 else _BLACK for place, colour in enumerate(reversed(_BARS))], 720, 790)
        _header(canvas, name, label, _BLACK, _MUTED, y=880)
        self._canvas, self._line = canvas, canvas.band(*_LINE)
        self._spot = canvas.mask([Line(960, 910, 960, 910)], 56)

    def frame(self, number: int) -> Canvas:
        self._canvas.stamp(self._spot, _INK if number % FRAME_RATE < FLASH_FRAMES else _DIM, _BLACK)
        self._canvas.restore(self._line)
        _marker(self._canvas, number, *_LINE)
        return self._canvas


class Slate:
    """What is shown during ad breaks."""

    def __init__(self, name: str, label: str, size: Size) -> None:
        canvas = Canvas(*size, _SLATE_PAPER)
        _header(canvas, name, label, _SLATE_PAPER, _SLATE_MUTED)
        lines = text_lines("AD BREAK", 960 - text_width("AD BREAK", 150) / 2, 460, 150)
        canvas.stamp(canvas.mask(lines, 150 * _STROKE), _INK, _SLATE_PAPER)
        self._canvas, self._line = canvas, canvas.band(*_LINE)

    def frame(self, number: int) -> Canvas:
        self._canvas.restore(self._line)
        _marker(self._canvas, number, *_LINE)
        return self._canvas


def _header(canvas: Canvas, name: str, label: str, paper: Colour, muted: Colour, y: float = 84) -> None:
    """The name at the left, as large as there is room for, and a label at the right."""
    right = DESIGN_WIDTH - _MARGIN - text_width(label, _LABEL_HEIGHT)
    room = right - 2 * _MARGIN
    height = next((height for height in _NAME_HEIGHTS if text_width(name, height) <= room), _NAME_HEIGHTS[-1])
    while text_width(name, height) > room:
        name = name.removesuffix("...")[:-1] + "..."
    baseline = y + _NAME_HEIGHTS[0]
    for text, x, size, ink in ((name, _MARGIN, height, _INK), (label, right, _LABEL_HEIGHT, muted)):
        canvas.stamp(canvas.mask(text_lines(text, x, baseline - size, size), size * _STROKE), ink, paper)


def _bars(canvas: Canvas, colours: Sequence[Colour], top: float, bottom: float) -> None:
    width = DESIGN_WIDTH / len(colours)
    for place, colour in enumerate(colours):
        canvas.fill(place * width, top, width + 8, bottom - top, colour)  # rounding leaves no gap


def _marker(canvas: Canvas, number: int, top: float, bottom: float) -> None:
    """The marker that crosses the picture once per segment."""
    frames = SEGMENT_SECONDS * FRAME_RATE
    x = (number % frames + 0.5) * DESIGN_WIDTH / frames - 16
    canvas.fill(x - 8, top, 48, bottom - top, _BLACK)
    canvas.fill(x, top, 32, bottom - top, _INK)
