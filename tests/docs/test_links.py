"""Every link between Markdown files leads somewhere, and an operator's questions are two clicks from the README."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from functools import cache
from pathlib import Path

import pytest

import tokensvc

ROOT = Path(tokensvc.__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT.glob("*.md"), *(ROOT.joinpath(name).rglob("*.md") for name in ("docs", "keys", "benchmarks")))
    for path in folder
    if "node_modules" not in path.parts
)
_FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"""\]\(<?([^)\s>]+)>?(?:\s+["'][^)]*)?\)|^ *\[[^\]]+\]: *(\S+)""", re.MULTILINE)
"""A link or image, with or without a title, or the definition of a reference."""
QUESTIONS = {
    "a key leaked": "docs/how-to/respond-to-a-leaked-key.md",
    "revocations pile up": "docs/how-to/alerts/revocation-queue-oldest-age-seconds.md",
    "a worker is out of sync": "docs/how-to/alerts/workers-stale.md",
    "the store is unreachable or lost": "docs/how-to/back-up-and-restore.md",
    "slots are full": "docs/how-to/rotate-keys.md",
    "tokens get 403": "docs/how-to/why-403.md",
}


@cache
def _text(page: str) -> str:
    return _FENCED.sub("", (ROOT / page).read_text("utf-8"))


@cache
def _anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as code hosts and the site both derive them."""
    headings = re.findall(r"^#{1,6} +(.+?)(?: +\{#[\w-]+\})?$", _text(page), re.MULTILINE)
    return {_slug(heading) for heading in headings} | set(re.findall(r"\{#([\w-]+)\}", _text(page)))


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def _targets(page: str) -> list[tuple[str, str]]:
    """The files and anchors that a page links to."""
    found = []
    for link in map("".join, _LINK.findall(_text(page))):
        if not re.match(r"https?:|mailto:", link):
            path, _, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            found.append((target, anchor))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_resolves(page: str) -> None:
    for target, anchor in _targets(page):
        assert (ROOT / target).exists(), f"{page}: {target}"
        if anchor and target.endswith(".md"):
            assert anchor in _anchors(target), f"{page}: {target} has no heading #{anchor}"


def test_every_page_is_linked_from_another() -> None:
    linked = {target for page in PAGES for target, _ in _targets(page) if target != page}
    assert not {page for page in PAGES if page.startswith("docs/")} - linked


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_of_an_operator_is_answered_within_two_clicks_of_the_readme(question: str) -> None:
    first = {target for target, _ in _targets("README.md")}
    second = {target for page in first if page.endswith(".md") for target, _ in _targets(page)}
    assert QUESTIONS[question] in first | second


def test_the_readme_can_be_read_in_two_minutes() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
