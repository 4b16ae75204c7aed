"""Finds names that a JSON object has twice, in a text that a parser took and that keeps the last of them.

Invariants
- `has_repeated_names` is exact for every text that is valid JSON, whatever its escapes and nesting. It counts instead
  of parsing again, because it runs for every request body: a text has two quotation marks for each string that it
  spells, and a parser that drops a member drops at least its name, so the counts agree only when nothing was dropped.
- `repeated_names` parses again, and is for texts of which that is known.
- Neither recurses: how deep a text is nested is its author's choice.
"""

from __future__ import annotations

import json
from typing import Any


def has_repeated_names(data: bytes, value: dict[str, Any]) -> bool:
    """Whether an object in this text has a name twice. `value` is what a parser made of the text."""
    strings = len(value)
    nested: list[Any] = []
    for item in value.values():
        kind = type(item)
        if kind is str:
            strings += 1
        elif kind is dict or kind is list:
            nested.append(item)
    for container in nested:  # it grows meanwhile
        if type(container) is dict:
            strings += len(container)
            container = container.values()
        for item in container:
            kind = type(item)
            if kind is str:
                strings += 1
            elif kind is dict or kind is list:
                nested.append(item)
    marks = data.count(b'"')
    if b"\\" in data:
        # A run of backslashes begins an escape, so pairs of them go first; what is left before a mark escapes it.
        marks -= data.replace(b"\\\\", b"").count(b'\\"')
    return marks != 2 * strings


def repeated_names(data: bytes) -> list[tuple[str | int, ...]]:
    """Where the repeated names of this text are, as paths of names and positions from the outermost object. Raises
    RecursionError for a text that is nested too deeply for the standard library's parser."""
    whole = json.loads(data, object_pairs_hook=_Members, parse_int=str, parse_float=str)
    found: dict[tuple[str | int, ...], None] = {}
    to_visit: list[tuple[tuple[str | int, ...], Any]] = [((), whole)]
    for path, container in to_visit:  # it grows meanwhile
        if isinstance(container, _Members):
            names = set()
            for name, item in container.pairs:
                if name in names:
                    found[*path, name] = None
                names.add(name)
                if isinstance(item, _Members | list):
                    to_visit.append(((*path, name), item))
        else:
            to_visit += [((*path, n), item) for n, item in enumerate(container) if isinstance(item, _Members | list)]
    return list(found)


class _Members:
    """An object with every member that the text gives it."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs
