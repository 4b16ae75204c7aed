"""The generated pages and passages of the documentation are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generator import PAGES, PASSAGES, ROOT, render

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rendered() -> dict[Path, str]:
    return render()


def test_every_generated_page_is_up_to_date(rendered: dict[Path, str]) -> None:
    stale = [
        str(path.relative_to(ROOT.parent))
        for path, text in rendered.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    assert not stale, "out of date: run `make reference`"


def test_every_generator_is_used(rendered: dict[Path, str]) -> None:
    markers = "".join(rendered.values())
    assert all(f"<!-- generated: {name} -->" in markers for name in PASSAGES)
    assert {ROOT / name for name in PAGES} <= rendered.keys()
