"""Markdown's tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; line breaks and bars in cells are escaped."""
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines)


def code(text: str) -> str:
    """The text as code, or nothing if it is empty."""
    return f"`{text}`" if text else ""


def anchor(heading: str) -> str:
    """The anchor that code hosts and the site make from a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def unwrap(text: str) -> str:
    """Each paragraph and list item on one line; blocks that are indented or fenced, and tables, stay as they are."""
    lines: list[str] = []
    is_fenced = False
    for line in text.split("\n"):
        is_fence = line.startswith("```")
        continues = bool(lines and lines[-1]) and bool(line) and not is_fenced and not is_fence
        if continues and not _STARTS_BLOCK.match(line) and not _NO_PARAGRAPH.match(lines[-1]):
            lines[-1] = f"{lines[-1]} {line.strip()}"
        else:
            lines.append(line)
        is_fenced ^= is_fence
    return "\n".join(lines)


_STARTS_BLOCK = re.compile(r"[-*|#>] |\d+\. |#+ |\|")
_NO_PARAGRAPH = re.compile(r"#+ |\||```")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
