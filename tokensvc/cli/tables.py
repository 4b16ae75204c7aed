"""Lays out tables, so that they fit the terminal without losing text.

Invariants
- Every line of a table that is not for a terminal is a row, however long, so that cut, awk and grep work on it.
- A table that is wider than its terminal wraps cells between words; no word, id or ARN is cut. If that is not enough,
  each row becomes a list of its cells.
- Widths are those in a terminal's cells: East Asian characters may take two, combining ones take none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

_GAP = "  "
_WORDS = re.compile(r"[^ ,]*,?|.")
_Row = Sequence[str]


def lay_out(headers: _Row, rows: Sequence[_Row], width: int | None) -> list[str]:
    """The lines of a table for a terminal of this width; None: for a file, or another program."""
    columns = list(zip(headers, *rows, strict=True))
    natural = [max(map(display_width, column)) for column in columns]
    if width is None or not rows or _total(natural) <= width:
        return [_line(row, natural) for row in (headers, *rows)]
    narrowest = [max(display_width(word) for cell in column for word in _words(cell)) for column in columns]
    if _total(narrowest) > width:
        return list(_records(headers, rows))
    fitted = _fitted(natural, narrowest, width)
    wrapped = [[_wrap(cell, fitted[number]) for number, cell in enumerate(row)] for row in (headers, *rows)]
    widths = [max(display_width(line) for row in wrapped for line in row[number]) for number in range(len(headers))]
    return [_line(cells, widths) for row in wrapped for cells in zip_longest(*row, fillvalue="")]


def display_width(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(c) or unicodedata.category(c) == "Mn"
        else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(cells: _Row, widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - display_width(cell)) for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip()


def _records(headers: _Row, rows: Sequence[_Row]) -> Iterator[str]:
    """Each row as lines of header and cell, with an empty line between rows."""
    label = max(map(display_width, headers))
    for number, row in enumerate(rows):
        if number:
            yield ""
        for header, cell in zip(headers, row, strict=True):
            yield _line((header, cell), (label, 0))


def _fitted(natural: Sequence[int], narrowest: Sequence[int], width: int) -> list[int]:
    """Widths that fit: the widest column that has room is narrowed until they do."""
    widths = list(natural)
    for _ in range(_total(natural) - width):
        widest = max((c for c in range(len(widths)) if widths[c] > narrowest[c]), key=lambda c: widths[c])
        widths[widest] -= 1
    return widths


def _wrap(cell: str, width: int) -> list[str]:
    """The cell in lines of at most this width, broken after spaces and commas."""
    lines = [""]
    for word in _words(cell):
        if display_width(lines[-1] + word) > width:
            lines.append("")
        if word != " " or lines[-1]:
            lines[-1] += word
    return [line.rstrip() for line in lines]


def _words(cell: str) -> list[str]:
    """The words of a cell, commas at their ends, and the spaces between them."""
    return _WORDS.findall(cell)
