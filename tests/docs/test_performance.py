"""The commands that the performance page names exist, and so do those of the benchmarks' own page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tokensvc

ROOT = Path(tokensvc.__file__).parent.parent
PAGES = ("docs/performance.md", "benchmarks/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_benchmark_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"python -m (benchmarks[\w.]*)", (ROOT / page).read_text("utf-8")))
    assert named
    for module in named:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_and_plan_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert all((ROOT / f"benchmarks/load/plans/{plan}.toml").exists() for plan in re.findall(r"PLAN=(\w+)", text))


def test_the_performance_page_names_every_benchmark_of_make_bench() -> None:
    made = re.findall(r"-m (benchmarks\.\w+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    text = (ROOT / "docs/performance.md").read_text("utf-8")
    assert [module for module in made if f"python -m {module}`" not in text] == ["benchmarks.guard"]
