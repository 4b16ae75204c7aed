"""Text from outside: which characters are accepted, and how the others are displayed.

Invariants
- What is accepted holds no control character: C0, DEL and C1 are the category Cc of Unicode. PostgreSQL stores no NUL,
  and the others drive terminals.
- Invisible characters that are not control characters (bidirectional marks, joiners, line separators) are accepted.
  IVS's model forbids none of them, and scripts and emoji need some. They are escaped when text is displayed.
- What is displayed holds printable characters alone. An escape never contains the character that it stands for.
"""

from __future__ import annotations

import re

NO_CONTROLS_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
"""The rule of `check_no_controls` for a JSON schema."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_no_controls(text: str) -> str:
    """Return the text. Raises ValueError when it holds a control character."""
    if not text.isprintable() and _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def check_unicode(text: str) -> str:
    """Return the text. Raises ValueError when it holds half of a surrogate pair, which UTF-8 cannot express."""
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("must be text that can be written as UTF-8")
    return text


def printable(text: str, *, keep: str = "") -> str:
    """The text with every character that is not printable, and is not in `keep`, as a Python escape: `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def printable_json(document: str) -> str:
    """A JSON document of the same value, with every character that is not printable as a JSON escape.

    Outside of strings a document has line feeds at most, and those stay.
    """
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in document)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
