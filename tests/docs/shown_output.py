"""Compares what a page shows as a command's output with what the command printed.

Invariants
- `…` stands for anything: within a string, as the last entry of a list, as a key for further keys, or as a line of
  text.
- Times and the values of `VOLATILE` differ in each run; they have to be of the same kind.
"""

from __future__ import annotations

import json
import re
from typing import Any

ELLIPSIS = "…"
VOLATILE = {
    "viewerSessionVersion",
    "viewerSessionVersionsLessThanOrEqualTo",
    "id",
    "fingerprint",
    "keyId",
    "requestId",
    "ageSeconds",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?")


def assert_shown(language: str, shown: str, printed: str, place: str) -> None:
    """Fail, naming the place, unless the page shows what was printed."""
    if language == "json":
        difference = _difference(json.loads(shown), json.loads(printed), "$")
        assert difference is None, f"{place}: {difference}\nshown:\n{shown}\nprinted:\n{printed}"
    else:
        pattern = "\n".join(_line_pattern(line) for line in shown.strip().splitlines())
        # A line that is only an ellipsis stands for any number of lines, also none.
        pattern = pattern.replace(f"\n{_ANY_LINES}", f"(?:\n{_ANY_LINES})?")
        assert re.fullmatch(pattern, _plain(printed)), f"{place}:\nshown:\n{shown}\nprinted:\n{printed}"


_ANY_LINES = r"(?s:.*)"


def _plain(printed: str) -> str:
    """Without the white space at the ends of lines, which nobody sees."""
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


def _line_pattern(line: str) -> str:
    if line.strip() == ELLIPSIS:
        return _ANY_LINES
    parts = [_text_pattern(part) for part in line.rstrip().split(ELLIPSIS)]
    return ".*".join(parts)


def _text_pattern(text: str) -> str:
    """The text itself, with any time for a time and any white space for white space, since columns differ in width."""
    pieces = []
    ends_at = 0
    for found in _TIME.finditer(text):
        pieces.append(_spaced(text[ends_at : found.start()]) + _TIME.pattern)
        ends_at = found.end()
    return "".join(pieces) + _spaced(text[ends_at:])


def _spaced(text: str) -> str:
    return r"[ \t]+".join(re.escape(word) for word in re.split(r"[ \t]+", text))


def _difference(shown: Any, printed: Any, where: str) -> str | None:
    """The first difference, or None."""
    if shown == ELLIPSIS:
        return None
    if isinstance(shown, dict) and isinstance(printed, dict):
        return _of_objects(shown, printed, where)
    if isinstance(shown, list) and isinstance(printed, list):
        open_ended = bool(shown) and shown[-1] == ELLIPSIS
        entries = shown[:-1] if open_ended else shown
        if len(entries) > len(printed) or (len(entries) < len(printed) and not open_ended):
            return f"{where} has {len(printed)} entries"
        pairs = enumerate(zip(entries, printed, strict=False))
        return next((d for n, (s, p) in pairs if (d := _difference(s, p, f"{where}[{n}]"))), None)
    if isinstance(shown, str) and isinstance(printed, str):
        return None if re.fullmatch(_line_pattern(shown), printed) else f"{where} is {printed!r}"
    if type(shown) is type(printed) and (shown == printed or where.rpartition(".")[2] in VOLATILE):
        return None
    return f"{where} is {printed!r}"


def _of_objects(shown: dict[str, Any], printed: dict[str, Any], where: str) -> str | None:
    named = shown.keys() - {ELLIPSIS}
    if missing := named - printed.keys():
        return f"{where} lacks {sorted(missing)}"
    if (extra := printed.keys() - named) and ELLIPSIS not in shown:
        return f"{where} also has {sorted(extra)}"
    for name in named:
        volatile = name in VOLATILE and type(shown[name]) is type(printed[name])
        if not volatile and (difference := _difference(shown[name], printed[name], f"{where}.{name}")):
            return difference
    return None
