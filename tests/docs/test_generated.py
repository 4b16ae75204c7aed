"""The generated pages and passages of the documentation are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generator import PAGES, PASSAGES, ROOT, render

RENDERED = render()


@pytest.mark.parametrize("path", sorted(RENDERED), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    written = path.read_text("utf-8") if path.exists() else ""
    assert written == RENDERED[path], f"docs/{path.relative_to(ROOT)} is out of date: run `make reference`"


def test_every_generator_is_used() -> None:
    markers = "".join(text for text in RENDERED.values())
    assert all(f"<!-- generated: {name} -->" in markers for name in PASSAGES)
    assert {ROOT / name for name in PAGES} <= RENDERED.keys()
