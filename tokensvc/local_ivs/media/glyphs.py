"""A stroke font of our own, so that text needs no font file: the characters of channel names and a few more.

Invariants
- A glyph is a path of lines (L) and quadratic curves (Q) on a grid: capital letters have a height of 14 units, `y` runs
  downwards, the baseline is at 14, descenders reach to 18.
- Digits have one width, so that a running number does not move.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

CAP_HEIGHT = 14
DESCENT = 4
_SPACING = 4.0
_CURVE_LINES = 12
"""A curve is drawn as this many lines."""

_PATHS = {
    "0": "M4.5 0 Q9 0 9 4.5 L9 9.5 Q9 14 4.5 14 Q0 14 0 9.5 L0 4.5 Q0 0 4.5 0",
    "1": "M1.5 3 L5.5 0 L5.5 14",
    "2": "M0 4 Q0 0 4.5 0 Q9 0 9 4 Q9 6 7 8 L0 14 L9 14",
    "3": "M0 3 Q0.5 0 4.5 0 Q8.5 0 8.5 3.5 Q8.5 6.7 4 6.7 M4 6.7 Q9 6.7 9 10.3 Q9 14 4.5 14 Q0.5 14 0 11",
    "4": "M7 14 L7 0 L0 9.5 L9 9.5",
    "5": "M8.5 0 L1 0 L0.5 6.5 Q2 5 4.5 5 Q9 5 9 9.5 Q9 14 4.5 14 Q0.5 14 0 11",
    "6": "M8 1 Q6.5 0 5 0 Q0 0 0 7 L0 9.5 Q0 14 4.5 14 Q9 14 9 9.5 Q9 5.5 4.5 5.5 Q0 5.5 0 9.5",
    "7": "M0 0 L9 0 L3 14",
    "8": "M4.5 6.5 Q0.5 6.5 0.5 3.25 Q0.5 0 4.5 0 Q8.5 0 8.5 3.25 Q8.5 6.5 4.5 6.5 "
    "Q0 6.5 0 10.25 Q0 14 4.5 14 Q9 14 9 10.25 Q9 6.5 4.5 6.5",
    "9": "M1 13 Q2.5 14 4 14 Q9 14 9 7 L9 4.5 Q9 0 4.5 0 Q0 0 0 4.5 Q0 8.5 4.5 8.5 Q9 8.5 9 4.5",
    "A": "M0 14 L4.75 0 L9.5 14 M1.7 9 L7.8 9",
    "B": "M0 0 L0 14 L5 14 Q9 14 9 10.4 Q9 6.8 5 6.8 L0 6.8 M5 6.8 Q8.5 6.8 8.5 3.4 Q8.5 0 5 0 L0 0",
    "C": "M9 3.5 Q8.5 0 4.5 0 Q0 0 0 4.5 L0 9.5 Q0 14 4.5 14 Q8.5 14 9 10.5",
    "D": "M0 0 L0 14 L4 14 Q9 14 9 9 L9 5 Q9 0 4 0 L0 0",
    "E": "M8 0 L0 0 L0 14 L8 14 M0 6.8 L7 6.8",
    "F": "M8 0 L0 0 L0 14 M0 6.8 L7 6.8",
    "G": "M9 3.5 Q8.5 0 4.5 0 Q0 0 0 4.5 L0 9.5 Q0 14 4.5 14 Q9 14 9 9.5 L9 7.5 L5 7.5",
    "H": "M0 0 L0 14 M9 0 L9 14 M0 6.8 L9 6.8",
    "I": "M0 0 L0 14",
    "J": "M6 0 L6 10 Q6 14 3 14 Q0 14 0 10.5",
    "K": "M0 0 L0 14 M8.5 0 L0 8.5 M3 5.6 L9 14",
    "L": "M0 0 L0 14 L7.5 14",
    "M": "M0 14 L0 0 L5.5 9 L11 0 L11 14",
    "N": "M0 14 L0 0 L9 14 L9 0",
    "O": "M5 0 Q10 0 10 5 L10 9 Q10 14 5 14 Q0 14 0 9 L0 5 Q0 0 5 0",
    "P": "M0 14 L0 0 L5 0 Q9 0 9 4 Q9 8 5 8 L0 8",
    "Q": "M5 0 Q10 0 10 5 L10 9 Q10 14 5 14 Q0 14 0 9 L0 5 Q0 0 5 0 M6 10.5 L9.7 14.5",
    "R": "M0 14 L0 0 L5 0 Q9 0 9 4 Q9 8 5 8 L0 8 M4.7 8 L9 14",
    "S": "M8.5 3 Q8 0 4.5 0 Q0.5 0 0.5 3.5 Q0.5 6.3 4.5 6.9 Q9 7.6 9 10.5 Q9 14 4.5 14 Q0.3 14 0 10.8",
    "T": "M0 0 L9 0 M4.5 0 L4.5 14",
    "U": "M0 0 L0 9.5 Q0 14 4.5 14 Q9 14 9 9.5 L9 0",
    "V": "M0 0 L4.75 14 L9.5 0",
    "W": "M0 0 L3 14 L6.5 3 L10 14 L13 0",
    "X": "M0 0 L9 14 M9 0 L0 14",
    "Y": "M0 0 L4.5 7 L9 0 M4.5 7 L4.5 14",
    "Z": "M0 0 L9 0 L0 14 L9 14",
    "a": "M7.5 4.5 L7.5 14 M7.5 8 Q7.5 4.5 3.75 4.5 Q0 4.5 0 8 L0 10.5 Q0 14 3.75 14 Q7.5 14 7.5 10.5",
    "b": "M0 0 L0 14 M0 8 Q0 4.5 3.75 4.5 Q7.5 4.5 7.5 8 L7.5 10.5 Q7.5 14 3.75 14 Q0 14 0 10.5",
    "c": "M7 7 Q6.5 4.5 3.75 4.5 Q0 4.5 0 8 L0 10.5 Q0 14 3.75 14 Q6.5 14 7 11.5",
    "d": "M7.5 0 L7.5 14 M7.5 8 Q7.5 4.5 3.75 4.5 Q0 4.5 0 8 L0 10.5 Q0 14 3.75 14 Q7.5 14 7.5 10.5",
    "e": "M0 9 L7.5 9 L7.5 8 Q7.5 4.5 3.75 4.5 Q0 4.5 0 8 L0 10.5 Q0 14 3.75 14 Q6.3 14 7 12",
    "f": "M5 0.2 Q2 -0.2 2 3 L2 14 M0 5 L4.8 5",
    "g": "M7.5 4.5 L7.5 15 Q7.5 18 3.75 18 Q1 18 0.5 16.5 "
    "M7.5 8 Q7.5 4.5 3.75 4.5 Q0 4.5 0 8 L0 10.5 Q0 14 3.75 14 Q7.5 14 7.5 10.5",
    "h": "M0 0 L0 14 M0 8 Q0 4.5 3.5 4.5 Q7 4.5 7 8 L7 14",
    "i": "M0 4.5 L0 14 M0 0.9 L0 1",
    "j": "M2 4.5 L2 15.5 Q2 18 -0.5 18 M2 0.9 L2 1",
    "k": "M0 0 L0 14 M6.5 4.5 L0 10.4 M2.6 8.2 L7 14",
    "l": "M0 0 L0 12 Q0 14 2 14",
    "m": "M0 4.5 L0 14 M0 8 Q0 4.5 3 4.5 Q6 4.5 6 8 L6 14 M6 8 Q6 4.5 9 4.5 Q12 4.5 12 8 L12 14",
    "n": "M0 4.5 L0 14 M0 8 Q0 4.5 3.5 4.5 Q7 4.5 7 8 L7 14",
    "o": "M3.75 4.5 Q7.5 4.5 7.5 8 L7.5 10.5 Q7.5 14 3.75 14 Q0 14 0 10.5 L0 8 Q0 4.5 3.75 4.5",
    "p": "M0 4.5 L0 18 M0 8 Q0 4.5 3.75 4.5 Q7.5 4.5 7.5 8 L7.5 10.5 Q7.5 14 3.75 14 Q0 14 0 10.5",
    "q": "M7.5 4.5 L7.5 18 M7.5 8 Q7.5 4.5 3.75 4.5 Q0 4.5 0 8 L0 10.5 Q0 14 3.75 14 Q7.5 14 7.5 10.5",
    "r": "M0 4.5 L0 14 M0 8.5 Q0.5 4.5 4.5 4.6",
    "s": "M6.5 6.5 Q6 4.5 3.5 4.5 Q0.5 4.5 0.5 6.8 Q0.5 8.7 3.5 9.2 Q7 9.8 7 11.7 Q7 14 3.5 14 Q0.5 14 0 12",
    "t": "M2 1.5 L2 11 Q2 14.2 5 13.8 M0 4.8 L4.8 4.8",
    "u": "M0 4.5 L0 10.5 Q0 14 3.5 14 Q7 14 7 10.5 M7 4.5 L7 14",
    "v": "M0 4.5 L3.6 14 L7.2 4.5",
    "w": "M0 4.5 L2.5 14 L5.25 6 L8 14 L10.5 4.5",
    "x": "M0 4.5 L7 14 M7 4.5 L0 14",
    "y": "M0 4.5 L3.6 14 M7.2 4.5 L2.6 16.5 Q1.9 18 0 18",
    "z": "M0 4.5 L7 4.5 L0 14 L7 14",
    "-": "M0 8.5 L5 8.5",
    "_": "M0 16 L8 16",
    ":": "M0 4.9 L0 5 M0 12 L0 12.1",
    ".": "M0 13.9 L0 14",
    "?": "M0 3 Q0 0 4 0 Q8 0 8 3.5 Q8 6.5 4 8 L4 9.5 M4 13.8 L4 14",
    " ": "",
}
_DIGIT_WIDTH, _SPACE_WIDTH = 9.0, 4.0
_UNKNOWN = "?"


class Line(NamedTuple):
    """A straight stroke."""

    x0: float
    y0: float
    x1: float
    y1: float


def text_lines(text: str, x: float, y: float, cap_height: float) -> list[Line]:
    """The strokes of a text whose capital letters have this height and whose upper left corner is here."""
    scale = cap_height / CAP_HEIGHT
    lines = []
    for char in text:
        lines += [
            Line(x + x0 * scale, y + y0 * scale, x + x1 * scale, y + y1 * scale) for x0, y0, x1, y1 in _glyph(char)
        ]
        x += advance(char, cap_height)
    return lines


def advance(text: str, cap_height: float) -> float:
    """How far after the beginning of a text the next character begins."""
    return sum(_width(char) + _SPACING for char in text) * cap_height / CAP_HEIGHT


def text_width(text: str, cap_height: float) -> float:
    return max(advance(text, cap_height) - _SPACING * cap_height / CAP_HEIGHT, 0)


def _width(char: str) -> float:
    if char.isdigit():
        return _DIGIT_WIDTH
    return max((max(line.x0, line.x1) for line in _glyph(char)), default=_SPACE_WIDTH)


@lru_cache
def _glyph(char: str) -> tuple[Line, ...]:
    return tuple(_lines(_PATHS.get(char, _PATHS[_UNKNOWN])))


def _lines(path: str) -> Iterator[Line]:
    """The lines of a path, its curves approximated."""
    x = y = 0.0
    numbers: list[float] = []
    command = ""
    for word in path.split():
        if word[0].isalpha():
            command, numbers, word = word[0], [], word[1:]
        numbers.append(float(word))
        if command == "M" and len(numbers) == 2:
            x, y = numbers
        elif command == "L" and len(numbers) == 2:
            yield Line(x, y, *numbers)
            x, y = numbers
        elif command == "Q" and len(numbers) == 4:
            yield from _curve(x, y, *numbers)
            x, y = numbers[2:]


def _curve(x0: float, y0: float, x1: float, y1: float, x2: float, y2: float) -> Iterator[Line]:
    def point(t: float) -> tuple[float, float]:
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
        return a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2

    points = [point(step / _CURVE_LINES) for step in range(_CURVE_LINES + 1)]
    return (Line(*start, *end) for start, end in pairwise(points))
