"""Finds the line of a value in a TOML text, which `tomllib` does not report.

Invariants
- The parser itself is used: a value is on the line with which it first appears when more and more lines are parsed.
- This is only used for messages: a search takes about as many parses as the number of lines has binary digits, and one
  parse for a key of the top level that only one line can assign.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, from 1, on which the value at this path of a valid text starts.

    If the path does not exist (a missing key, a part of a value), the line of its deepest existing part.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    depth = _depth(tomllib.loads(text), path)
    if depth == 0:
        return 1
    if len(path) == 1 and (only := _only_assignment(lines, str(path[0]))):
        return only
    low, high = 0, len(lines)  # the first `low` lines do not have the value, the first `high` lines do
    while (middle := _parseable_between(lines, low, high)) is not None:
        number, document = middle
        if _depth(document, path) < depth:
            low = number
        else:
            high = number
    return low + 1


def _only_assignment(lines: Sequence[str], key: str) -> int:
    """The number of the only line that can assign this key or open its table; 0 if several can, or it is escaped."""
    pattern = re.compile(rf"""\s*\[*\s*(["']?){re.escape(key)}\1\s*[=.\]]""")
    found = [number for number, line in enumerate(lines, 1) if pattern.match(line)]
    return found[0] if len(found) == 1 else 0


def _parseable_between(lines: Sequence[str], low: int, high: int) -> tuple[int, dict[str, Any]] | None:
    """A number of lines between these two, close to the middle, that are a document; and the document. None if there is
    no such number: every one would end inside a value of several lines."""
    middle = (low + high) // 2
    for number in (*range(middle, low, -1), *range(middle + 1, high)):
        try:
            return number, tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
    return None


def _depth(value: Any, path: Sequence[str | int]) -> int:
    """How many steps of the path exist."""
    for number, step in enumerate(path):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return number
    return len(path)
