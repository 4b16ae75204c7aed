"""The page about inferences lists each of them, and each can be read without the code beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generator import ROOT
from docs.generator.basis import Basis, Statement, marked_in, statements
from docs.generator.inferred import subject_of
from docs.generator.sources import PACKAGE, files

PAGE = (ROOT / "explanation/inferred-about-ivs.md").read_text("utf-8")
FOUND = [(path, statement) for path in files() for statement in marked_in(path)]


def test_every_marker_in_the_code_is_found() -> None:
    written = sum(
        len(re.findall(r"\b(?:INFERRED|OBSERVED)\b", path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py")
    )
    assert len(FOUND) == written


@pytest.mark.parametrize(("path", "statement"), FOUND, ids=lambda value: getattr(value, "name", ""))
def test_an_inference_is_a_whole_sentence(path: Path, statement: Statement) -> None:
    assert re.match(r"[A-Z`\"]", statement.text), f"{path}: {statement.text}"
    assert statement.text.endswith("."), f"{path}: {statement.text}"


def test_the_page_lists_every_inference_once() -> None:
    for path, statement in FOUND:
        if statement.basis is Basis.INFERRED:
            assert PAGE.count(f"- {statement.text} See") == 1, f"{path}: {statement.text}"
            assert subject_of(path)


def test_a_docstring_says_first_what_is_documented() -> None:
    docstring = """A rule,
    on two lines.

    - INFERRED: A guess,
      on two lines.
    - Something else.

    OBSERVED: A fact.
    """
    assert statements(docstring) == [
        Statement("A rule, on two lines.", Basis.DOCUMENTED),
        Statement("A guess, on two lines.", Basis.INFERRED),
        Statement("A fact.", Basis.OBSERVED),
    ]
