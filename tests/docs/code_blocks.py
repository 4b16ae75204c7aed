"""The fenced code blocks of a Markdown page, in their order.

Invariants
- A block's options follow its language: ```` ```sh skip="aws" ````. `docs/site/hooks.py` leaves those that only the
  tests read out of the site.
- A `json` or `text` block directly below a block that runs is its output, unless it has the option `title`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EXECUTABLE = ("sh", "python", "js")
SKIP_REASONS = {
    "demo": "starts the demo, which the test itself has started; `tests/e2e/test_demo.py` runs it as printed",
    "make": "a target of the Makefile that CI runs by itself",
    "install": "installs packages; the tests have them already, from the lock files",
    "aws": "needs an AWS account",
    "hosts": "needs several machines, or a domain name",
    "root": "changes the machine",
    "long": "takes longer than the tests may",
}
"""Why a block may say that it is not run."""
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
_OPTION = re.compile(r'(\w+)="([^"]*)"')


class CodeBlock(NamedTuple):
    """One fenced block."""

    page: str
    line: int
    language: str
    options: dict[str, str]
    text: str
    output: CodeBlock | None = None
    """What the page shows as its output."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def skip(self) -> str | None:
        return self.options.get("skip")

    @property
    def file(self) -> str | None:
        """The name of the file that this block is, if it is one."""
        return self.options.get("title")

    @property
    def runs(self) -> bool:
        return self.language in EXECUTABLE and self.file is None and self.skip is None


def code_blocks(path: Path, page: str) -> list[CodeBlock]:
    """The blocks of a page, each with its output."""
    markdown = path.read_text("utf-8")
    return list(_with_outputs(markdown, page))


def _with_outputs(markdown: str, page: str) -> Iterator[CodeBlock]:
    previous: CodeBlock | None = None
    ends_at = 0
    for found in _FENCE.finditer(markdown):
        language, _, rest = found["info"].strip().partition(" ")
        line = markdown.count("\n", 0, found.start()) + 1
        block = CodeBlock(page, line, language, dict(_OPTION.findall(rest)), textwrap.dedent(found["text"]))
        adjacent = previous is not None and not markdown[ends_at : found.start()].strip()
        if previous is not None and adjacent and block.language in ("json", "text") and block.file is None:
            yield previous._replace(output=block)
            previous = None
        else:
            if previous is not None:
                yield previous
            previous = block
        ends_at = found.end()
    if previous is not None:
        yield previous
