"""JSON as a verifier must read it: what two parsers could read differently is no JSON here.

Rules of the file
- UTF-8, one object, no member twice (RFC 8259, 4, leaves that to the parser; RFC 7519, 4, lets us refuse it), no NaN or
  Infinity and no number that becomes one, no half of a surrogate pair (RFC 8259, 8.2: "unpredictable"), no nesting deep
  enough to exhaust the stack.

Finds names that a JSON object has twice, in a text that a parser took and that keeps the last of them.

Invariants
- `has_repeated_names` is exact for every text that is valid JSON, whatever its escapes and nesting. It counts instead
  of parsing again, because it runs for every request body: a text has two quotation marks for each string that it
  spells, and a parser that drops a member drops at least its name, so the counts agree only when nothing was dropped.
- `repeated_names` parses again, and is for texts of which that is known.
- Neither recurses: how deep a text is nested is its author's choice.
"""

from __future__ import annotations

import json
import math
from typing import Any


def read_object(data: bytes) -> dict[str, Any]:
    """The object these bytes spell. Raises ValueError naming the rule they break."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_float=_finite
        )
    except _Ambiguous as problem:
        raise ValueError(str(problem)) from None
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if b"\\u" in data and not _is_unicode(value):
        raise ValueError("has text that is not valid Unicode")
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


class _Ambiguous(Exception):
    """JSON by the letter, but not to be trusted."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Ambiguous("has a member twice")
    return members


def _refuse_constant(_: str) -> None:
    raise _Ambiguous("has a number that JSON does not know")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Ambiguous("has a number that is too large")
    return number


def _is_unicode(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


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
