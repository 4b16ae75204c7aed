"""The commands and programs of the README, the tutorials and the how-to guides work as written.

Each page's blocks run in turn, in one shell, beside a demo or in a deployment that the page sets up. What a page shows
as output is what is printed, where it is the same in every run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import tokensvc
from tests.docs.code_blocks import EXECUTABLE, SHOWN, SKIP_REASONS, CodeBlock, code_blocks, malformed_fences
from tests.docs.environments import (
    ALONE,
    CLONE,
    DEPLOYED,
    NOT_SERVING,
    PRODUCTION,
    PageEnvironment,
    alone,
    as_deployed,
    as_production,
    beside_demo,
    in_clone,
    missing_for,
)
from tests.docs.key_storage import KEY_STORAGE, with_key_storage
from tests.docs.page_shell import BASH, PageShell
from tests.docs.test_links import PAGES as LINKED_PAGES
from tests.support.chromium import CHROMIUM, document_of
from tests.support.http_client import Client
from tests.support.postgres import postgres_server, unavailable_reason
from tests.support.processes import wait_until

ROOT = Path(tokensvc.__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs/tutorial").rglob("*.md")),
        *sorted((ROOT / "docs/how-to").rglob("*.md")),
    ]
}
BLOCKS: dict[str, list[CodeBlock]] = {page: code_blocks(path, page) for page, path in PAGES.items()}
EXECUTED = [page for page, blocks in BLOCKS.items() if any(block.runs for block in blocks)]
ALERTS = tuple(page for page in EXECUTED if page.startswith("docs/how-to/alerts/"))
"""The runbooks. They run beside one demo, whose keys none of them changes, with the variables that their index sets."""
QUICK = ("README.md", "docs/tutorial/first-token.md")
"""The pages that `make test` runs: what a new user reads first. The others are long."""

PLAYERS = {
    "docs/tutorial/backend-node.md": "http://127.0.0.1:3000/sign-in/ada",
    "docs/tutorial/backend-python.md": "http://127.0.0.1:8000/sign-in/ada",
}
"""What a reader opens at the end of a page, in a browser: a page with a player."""


def _marks(page: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.e2e]
    if page in PRODUCTION | DEPLOYED:
        marks.append(pytest.mark.postgres)
    if page not in QUICK:
        marks.append(pytest.mark.long)
    return marks


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")
@pytest.mark.parametrize("page", [pytest.param(page, marks=_marks(page)) for page in EXECUTED if page not in ALERTS])
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path) -> None:
    blocks = BLOCKS[page]
    if any(block.language == "js" for block in blocks) and shutil.which("npm") is None:
        pytest.skip("npm is not installed: make system-packages")
    if reason := missing_for(page) or (unavailable_reason() if page in PRODUCTION | DEPLOYED else None):
        pytest.skip(reason)
    with ExitStack() as stack:
        if page in PRODUCTION:
            found = stack.enter_context(as_production(tmp_path, stack.enter_context(postgres_server())))
        elif page in DEPLOYED:
            postgres = stack.enter_context(postgres_server())
            found = stack.enter_context(as_deployed(tmp_path, postgres, is_serving=page not in NOT_SERVING))
            if page in KEY_STORAGE:
                found = stack.enter_context(with_key_storage(found))
        else:
            start = in_clone if page in CLONE else alone if page in ALONE else beside_demo
            found = stack.enter_context(start(tmp_path))
        shell = stack.enter_context(PageShell(found.folder, found.variables, found.substitutions))
        for block in blocks:
            shell.run(block)
        if page in PLAYERS and CHROMIUM is not None:
            document = document_of(shell.substituted(PLAYERS[page]), tmp_path)
            assert "renditions: 480p" in document, (
                f"{page}: the player of the page did not read the playlist:\n{document}"
            )


@pytest.mark.long
@pytest.mark.e2e
@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")
@pytest.mark.parametrize("page", ALERTS)
def test_the_blocks_of_a_runbook_run(page: str, runbooks_demo: PageEnvironment, tmp_path: Path) -> None:
    (tmp_path / ".demo").symlink_to(runbooks_demo.folder / ".demo")
    keys_before = _keys(runbooks_demo)
    with PageShell(tmp_path, runbooks_demo.variables, runbooks_demo.substitutions) as shell:
        shell.run(CodeBlock(page, 0, "sh", {}, ". .demo/env; export ADMIN=$TOKENS"))
        for block in BLOCKS[page]:
            shell.run(block)
    assert _keys(runbooks_demo) == keys_before, f"{page} changes the keys of the demo that all runbooks share"


@pytest.fixture(scope="module")
def runbooks_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageEnvironment]:
    with beside_demo(tmp_path_factory.mktemp("runbooks")) as found:
        wait_until(lambda: [len(keys) for keys in _keys(found)] == [2], "the demo has its active key and its standby")
        yield found


def _keys(found: PageEnvironment) -> list[Any]:
    """The id, state and ARN of each key pair."""
    info = json.loads((found.folder / ".demo/demo.json").read_text())
    with Client(info["url"], info["apiKey"]) as client:
        regions: list[Any] = client.request("GET", "/v1/status").json["regions"]
    return [region["keys"] for region in regions]


@pytest.mark.parametrize("page", BLOCKS)
def test_a_block_that_does_not_run_says_why(page: str) -> None:
    for block in BLOCKS[page]:
        if block.language in EXECUTABLE:
            assert block.skip is None or block.skip in SKIP_REASONS, f"{block.place}: {block.skip}"


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_is_in_a_language_that_is_run_or_only_shown(page: str) -> None:
    """Use text for what is in none, and sh, python or js for programs."""
    for block in BLOCKS[page]:
        assert block.language in (*EXECUTABLE, *SHOWN), f"{block.place}: {block.language or 'no language'}"


@pytest.mark.parametrize("page", BLOCKS)
def test_no_block_escapes_by_its_form(page: str) -> None:
    """Such as one between tildes, in a quotation, or with an option that does not exist or is not quoted."""
    assert malformed_fences(PAGES[page].read_text("utf-8")) == []


@pytest.mark.parametrize("page", sorted(set(LINKED_PAGES) - PAGES.keys()))
def test_a_page_whose_blocks_are_not_run_has_no_programs(page: str) -> None:
    """Except the generated references, whose examples have tests of their own."""
    if not page.startswith("docs/reference/"):
        assert not [b.place for b in code_blocks(ROOT / page, page) if b.language in EXECUTABLE]
        assert malformed_fences((ROOT / page).read_text("utf-8")) == []
