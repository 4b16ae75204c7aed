"""The source files of the package, each parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import tokensvc

PACKAGE = Path(tokensvc.__file__).parent


def files(folder: Path = PACKAGE) -> list[Path]:
    """The Python files in a folder and its subfolders, in the order of their paths."""
    return sorted(folder.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"))
