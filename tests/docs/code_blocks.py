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
    "engine": "needs a container engine and a registry; `tests/deploy` builds and runs the image without",
    "hosts": "needs several machines, or a domain name",
    "root": "changes the machine",
    "cluster": "needs a Kubernetes cluster",
    "long": "takes longer than the tests may",
}
"""Why a block may say that it is not run."""
SHOWN = (
    "text",
    "json",
    "yaml",
    "toml",
    "ini",
    "html",
    "nginx",
    "haproxy",
    "promql",
    "mermaid",
    "terraform",
    "swift",
    "kotlin",
)
"""The languages of blocks that are never run. Every other one is a mistake, or hides a program from the tests."""
OPTIONS = frozenset({"skip", "title", "background", "exit"})
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
_OPTION = re.compile(r'(\w+)="([^"]*)"')
_INFO = re.compile(r'\w+(?: \w+="[^"]*")*')
_FENCE_LINE = re.compile(r"^[ \t>]*(?:```|~~~)", re.M)


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


def malformed_fences(markdown: str) -> list[str]:
    """What is written as a block in a form that `code_blocks` does not read: its lines, or the number of its fences."""
    found = list(_FENCE.finditer(markdown))
    wrong = [match["info"] for match in found if not _INFO.fullmatch(match["info"].strip())]
    wrong += [
        match["info"] for match in found if not OPTIONS.issuperset(name for name, _ in _OPTION.findall(match["info"]))
    ]
    fences = len(_FENCE_LINE.findall(markdown))
    return wrong if fences == 2 * len(found) else [*wrong, f"{fences} lines with a fence, but {len(found)} blocks"]


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
