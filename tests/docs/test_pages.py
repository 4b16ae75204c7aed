"""The commands and programs of the README, the tutorials and the how-to guides work as written.

Each page's blocks run in turn, in one shell, beside a demo or in a deployment that the page sets up. What a page shows
as output is what is printed, where it is the same in every run.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

import tokensvc
from tests.docs.code_blocks import EXECUTABLE, SKIP_REASONS, CodeBlock, code_blocks
from tests.docs.environments import PRODUCTION, as_production, beside_demo
from tests.docs.page_shell import BASH, PageShell
from tests.support.postgres import PostgresServer, postgres_server, unavailable_reason

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
LONG = frozenset({"docs/tutorial/backend-node.md", "docs/tutorial/backend-python.md"})
"""The pages that take minutes, or install packages from elsewhere."""


def _marks(page: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.e2e]
    if page in PRODUCTION:
        marks.append(pytest.mark.postgres)
    if page in LONG:
        marks.append(pytest.mark.long)
    return marks


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")
@pytest.mark.parametrize("page", [pytest.param(page, marks=_marks(page)) for page in EXECUTED])
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path) -> None:
    blocks = BLOCKS[page]
    if any(block.language == "js" for block in blocks) and shutil.which("npm") is None:
        pytest.skip("npm is not installed: make system-packages")
    with ExitStack() as stack:
        if page in PRODUCTION:
            if reason := unavailable_reason():
                pytest.skip(reason)
            found = stack.enter_context(as_production(tmp_path, _postgres(stack)))
        else:
            found = stack.enter_context(beside_demo(tmp_path))
        shell = stack.enter_context(PageShell(found.folder, found.variables, found.substitutions))
        for block in blocks:
            shell.run(block)


def _postgres(stack: ExitStack) -> PostgresServer:
    return stack.enter_context(postgres_server())


@pytest.mark.parametrize("page", BLOCKS)
def test_a_block_that_does_not_run_says_why(page: str) -> None:
    for block in BLOCKS[page]:
        if block.language in EXECUTABLE:
            assert block.skip is None or block.skip in SKIP_REASONS, f"{block.place}: {block.skip}"


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_has_a_language(page: str) -> None:
    for block in BLOCKS[page]:
        assert block.language, f"{block.place} has no language; use text for what is none"
        assert block.language not in ("bash", "shell", "console", "javascript"), f"{block.place}: use sh or js"
