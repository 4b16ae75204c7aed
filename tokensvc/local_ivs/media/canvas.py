"""A picture in planar YUV 4:2:0 on which rectangles and strokes are drawn, in pure Python.

Invariants
- Coordinates and sizes are those of a picture with DESIGN_HEIGHT lines; the canvas scales them to its own size.
- A stroke is antialiased once into a mask. To stamp it is to map its rows through a table, so that a moving picture
  costs little; the paper below a stamp has one colour, which the caller names.
- Colours are BT.709, limited range.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import ceil, floor, hypot
from typing import NamedTuple

from tokensvc.local_ivs.media.glyphs import Line

DESIGN_HEIGHT = 1080
DESIGN_WIDTH = 1920
_SHIFTS = (0, 1, 1)
"""Of the planes Y, U and V: the last two have half the width and half the height."""


class Colour(NamedTuple):
    """A colour in YUV."""

    y: int
    u: int
    v: int


def rgb(colour: int) -> Colour:
    """The colour of 0xRRGGBB."""
    r, g, b = (colour >> shift & 0xFF for shift in (16, 8, 0))
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return Colour(
        round(16 + luma * 219 / 255),
        round(128 + (b - luma) / 1.8556 * 224 / 255),
        round(128 + (r - luma) / 1.5748 * 224 / 255),
    )


class Mask(NamedTuple):
    """How much of each pixel a drawing covers (0 to 255), with its even upper left corner in pixels."""

    x: int
    y: int
    rows: tuple[bytes, ...]


class Band(NamedTuple):
    """A copy of some whole lines of a picture: where they begin in each plane, and their levels."""

    starts: tuple[int, ...]
    levels: tuple[bytes, ...]


class Canvas:
    """A picture."""

    def __init__(self, width: int, height: int, paper: Colour) -> None:
        self.width = width
        self.height = height
        half = (width // 2) * (height // 2)
        self.planes = tuple(
            bytearray([level]) * size for level, size in zip(paper, (width * height, half, half), strict=True)
        )

    def fill(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle, whose corners are rounded to even pixels. What is outside of the picture is left out."""
        left, right = (min(max(self._even(edge), 0), self.width) for edge in (x, x + width))
        top, bottom = (min(max(self._even(edge), 0), self.height) for edge in (y, y + height))
        for plane, level, shift in zip(self.planes, colour, _SHIFTS, strict=True):
            stride = self.width >> shift
            row = bytes([level]) * ((right - left) >> shift)
            for line in range(top >> shift, bottom >> shift):
                start = line * stride + (left >> shift)
                plane[start : start + len(row)] = row

    def band(self, top: float, bottom: float) -> Band:
        """The lines between these, to be drawn again by `restore`."""
        first, end = self._even(top), self._even(bottom)
        edges = [
            ((first >> shift) * (self.width >> shift), (end >> shift) * (self.width >> shift)) for shift in _SHIFTS
        ]
        levels = (bytes(plane[start:stop]) for plane, (start, stop) in zip(self.planes, edges, strict=True))
        return Band(tuple(start for start, _ in edges), tuple(levels))

    def restore(self, band: Band) -> None:
        for plane, start, levels in zip(self.planes, band.starts, band.levels, strict=True):
            plane[start : start + len(levels)] = levels

    def mask(self, lines: Iterable[Line], thickness: float) -> Mask:
        """A mask of strokes with round ends."""
        scale = self.height / DESIGN_HEIGHT
        return _mask([Line(*(number * scale for number in line)) for line in lines], max(thickness * scale, 1.5) / 2)

    def stamp(self, mask: Mask, ink: Colour, paper: Colour) -> None:
        """Draw a mask in a colour on a paper that has one colour. The mask must be inside of the picture."""
        for plane, from_level, to_level, shift in zip(self.planes, paper, ink, _SHIFTS, strict=True):
            stride = self.width >> shift
            levels = _levels(from_level, to_level)
            start = (mask.y >> shift) * stride + (mask.x >> shift)
            for row in mask.rows[:: 1 << shift]:
                pixels = row[:: 1 << shift].translate(levels)
                plane[start : start + len(pixels)] = pixels
                start += stride

    def _even(self, coordinate: float) -> int:
        return 2 * round(coordinate * self.height / DESIGN_HEIGHT / 2)


@lru_cache
def _levels(paper: int, ink: int) -> bytes:
    """The level of each share of a pixel that is covered."""
    return bytes(round(paper + (ink - paper) * share / 255) for share in range(256))


def _mask(lines: list[Line], radius: float) -> Mask:
    """A mask of lines in pixels."""
    if not lines:
        return Mask(0, 0, ())
    reach = radius + 1
    left = floor((min(min(line.x0, line.x1) for line in lines) - reach) / 2) * 2
    top = floor((min(min(line.y0, line.y1) for line in lines) - reach) / 2) * 2
    width = ceil((max(max(line.x0, line.x1) for line in lines) + reach - left) / 2) * 2
    height = ceil((max(max(line.y0, line.y1) for line in lines) + reach - top) / 2) * 2
    rows = [bytearray(width) for _ in range(height)]
    for line in lines:
        _cover(rows, Line(line.x0 - left, line.y0 - top, line.x1 - left, line.y1 - top), radius)
    return Mask(left, top, tuple(bytes(row) for row in rows))


def _cover(rows: list[bytearray], line: Line, radius: float) -> None:
    """Cover the pixels whose centre is within the radius of a line, those at the edge in part."""
    x0, y0, x1, y1 = line
    dx, dy = x1 - x0, y1 - y0
    squared = dx * dx + dy * dy or 1.0
    reach = radius + 1
    for number in range(max(floor(min(y0, y1) - reach), 0), min(ceil(max(y0, y1) + reach), len(rows))):
        row = rows[number]
        from_y = number + 0.5 - y0
        left, right = min(x0, x1) - reach, max(x0, x1) + reach
        if dy:  # only where the line, made longer, crosses this row
            crossing, half = x0 + from_y * dx / dy, reach * squared**0.5 / abs(dy)
            left, right = max(left, crossing - half), min(right, crossing + half)
        for column in range(max(floor(left), 0), min(ceil(right), len(row))):
            from_x = column + 0.5 - x0
            along = min(max((from_x * dx + from_y * dy) / squared, 0), 1)
            distance = hypot(from_x - along * dx, from_y - along * dy)
            share = (radius + 0.5 - distance) * 255
            if share > row[column]:
                row[column] = min(int(share), 255)
