"""JSON as a verifier must read it: what two parsers could read differently is no JSON here.

Rules of the file
- UTF-8, one object, no member twice (RFC 8259, 4, leaves that to the parser; RFC 7519, 4, lets us refuse it), no NaN or
  Infinity and no number that becomes one, no half of a surrogate pair (RFC 8259, 8.2: "unpredictable"), no nesting deep
  enough to exhaust the stack.
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
