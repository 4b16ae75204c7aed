"""Where in a TOML text something stands, which `tomllib` does not say.

Rules of the file
- The reader itself is sent: the value stands where it first appears when the text is read line by line further.
- Slow, and only used to explain a refusal.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, from 1, on which the value at this path begins.

    The path may go on below what the text holds (a key that is missing, a value's part): the deepest there is counts.
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
    """How many steps of the path can be gone."""
    for number, step in enumerate(path):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return number
    return len(path)
