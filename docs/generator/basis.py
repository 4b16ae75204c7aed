"""What the code says about the basis of a rule: documented by AWS, observed on the real service, or inferred.

Invariants
- A marker begins a paragraph or a list entry of a docstring, or a comment, and ends with it. Its text is one or more
  whole sentences that can be read without the code beside it.
- Anything else that a docstring says first, in its first paragraph, is documented by AWS.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from docs.generator.sources import tree


class Basis(StrEnum):
    """Where a rule comes from."""

    DOCUMENTED = "documented"
    OBSERVED = "observed"
    INFERRED = "inferred"


class Statement(NamedTuple):
    """A statement about IVS, and its basis."""

    text: str
    basis: Basis


_MARKER = re.compile(r"(OBSERVED|INFERRED): (.+)", re.DOTALL)


def statements(docstring: str | None) -> list[Statement]:
    """The first paragraph of a docstring, and every marked statement in it."""
    paragraphs = _paragraphs(inspect.cleandoc(docstring or ""))
    found = [Statement(paragraphs[0], Basis.DOCUMENTED)] if paragraphs and not _MARKER.match(paragraphs[0]) else []
    return found + marked(docstring)


def marked(docstring: str | None) -> list[Statement]:
    """Every marked statement in a docstring."""
    matches = (_MARKER.match(paragraph) for paragraph in _paragraphs(inspect.cleandoc(docstring or "")))
    return [Statement(match[2], Basis(match[1].lower())) for match in matches if match]


def marked_in(path: Path) -> list[Statement]:
    """Every marked statement in a file, in its order."""
    if not _MARKER.search(path.read_text("utf-8")):
        return []  # most files: reading is much faster than parsing
    texts = sorted([*_docstrings(path), *_comments(path)])
    return [statement for _, text in texts for statement in marked(text)]


def module_statements(path: Path) -> list[Statement]:
    """The marked statements in a file that belong to no function: those of the module and of its constants."""
    return [statement for node in tree(path).body for statement in marked(_text(node))]


def _paragraphs(text: str) -> list[str]:
    """The paragraphs and list entries of a text, each on one line."""
    entries: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("- ") or not line.strip():
            entries.append([])
        entries[-1].append(line.removeprefix("- ").strip())
    return [joined for entry in entries if (joined := " ".join(entry).strip())]


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings of modules, classes, functions and variables, each with its line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr):
            yield node.lineno, _text(node)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _comments(path: Path) -> Iterator[tuple[int, str]]:
    """Comments, consecutive ones joined, each with its first line."""
    first, last, lines = 0, 0, [""]
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#").strip()
            if token.start[0] == last + 1:
                lines.append(text)
            else:
                yield first, "\n".join(lines)
                first, lines = token.start[0], [text]
            last = token.start[0]
    yield first, "\n".join(lines)
