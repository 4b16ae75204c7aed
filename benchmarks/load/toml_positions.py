"""Finds the line of a value in a TOML text, which `tomllib` does not report.

Invariants
- The parser itself is used: a value is on the line with which it first appears when the text is parsed line by line.
- This is slow and only used for error messages.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, from 1, on which the value at this path starts.

    If the path does not exist (a missing key, a part of a value), the line of its deepest existing part.
    """
    lines = text.splitlines()
    depth, found = 0, 1
    read_up_to = 0
    for number in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # the text ends inside a value of several lines
        reached = _depth(document, path)
        if reached > depth:
            depth, found = reached, read_up_to + 1
        read_up_to = number
    return found


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
