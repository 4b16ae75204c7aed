"""A strict JSON parser for tokens, and the paths of duplicate names in JSON that another parser has accepted.

Invariants
- `read_object` rejects everything that two parsers could interpret differently. It accepts UTF-8 and a single object
  without duplicate members (RFC 8259, 4, leaves them to the parser; RFC 7519, 4, allows rejecting them), without NaN,
  Infinity or a number that becomes one, without half of a surrogate pair (RFC 8259, 8.2: "unpredictable"), and without
  nesting deep enough to exhaust the stack.
- `repeated_names` parses the text again. It is called only for texts that are known to have duplicate names.
"""

from __future__ import annotations

import json
import math
from typing import Any


def read_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError naming the rule that the bytes break."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except _Ambiguous as error:
        raise ValueError(str(error)) from None
    except UnicodeEncodeError:
        raise ValueError("has text that is not valid Unicode") from None
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return value


class _Ambiguous(Exception):
    """Valid JSON that parsers interpret differently."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Ambiguous("has a duplicate member")
    return members


def _reject_constant(_: str) -> None:
    raise _Ambiguous("has NaN or Infinity, which JSON does not allow")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Ambiguous("has a number that is too large")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_reject_constant, parse_float=_finite)


def repeated_names(data: bytes) -> list[tuple[str | int, ...]]:
    """The paths of the duplicate names in this text: names and positions from the outermost object. Raises
    RecursionError for a text that is nested too deeply for the standard library's parser."""
    whole = json.loads(data, object_pairs_hook=_Members, parse_int=str, parse_float=str)
    found: dict[tuple[str | int, ...], None] = {}
    to_visit: list[tuple[tuple[str | int, ...], Any]] = [((), whole)]
    for path, container in to_visit:  # grows during the loop
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
    """A JSON object with all its members, duplicates included."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs
