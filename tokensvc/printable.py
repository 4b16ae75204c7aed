"""Text from outside: which characters are accepted, and how text is escaped for display.

Invariants
- Accepted text contains no control character: C0, DEL and C1, Unicode's category Cc. PostgreSQL cannot store NUL, and
  the others control terminals.
- Invisible characters that are not control characters (bidirectional marks, joiners, line separators) are accepted.
  IVS's model forbids none of them, and scripts and emoji need some. They are escaped when text is displayed.
- Displayed text contains only printable characters. An escape never contains the character that it represents.
"""

from __future__ import annotations

import re

NO_CONTROLS_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
"""The rule of `check_no_controls` for a JSON schema."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_no_controls(text: str) -> str:
    """Return the text. Raises ValueError if it contains a control character."""
    if not text.isprintable() and _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def check_unicode(text: str) -> str:
    """Return the text. Raises ValueError if it contains half of a surrogate pair, which UTF-8 cannot encode."""
    if not text.isascii() and _SURROGATE.search(text):
        raise ValueError("must be text that UTF-8 can encode")
    return text


def printable(text: str, *, keep: str = "") -> str:
    """The text with every character that is neither printable nor in `keep` as a Python escape, such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def printable_json(document: str) -> str:
    """A JSON document with the same value, in which every unprintable character is a JSON escape.

    Outside of strings the only unprintable characters of a document are line feeds, which are kept.
    """
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in document)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
