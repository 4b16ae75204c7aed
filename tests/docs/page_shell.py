"""Runs the blocks of one page in turn, as a reader would who pastes them into one shell.

Invariants
- Directory and variables, exported or not, carry over from one `sh` block to the next.
- A block fails if any of its commands does (`set -e`, `pipefail`), or uses a variable that the page has not set
  (`set -u`). With the option `exit`, its last command exits with that code instead.
- A block with `background="URL"` keeps running until the page ends; the next block starts once the URL responds.
- A block with `title="FILE"` is a file. Others that run are written in Python or JavaScript.
- What the page names literally and the test has elsewhere (a port, a directory, the database) is replaced, in commands
  and outputs alike, as `substitutions` says.
"""

from __future__ import annotations

import re
import shutil
import ssl
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.docs.code_blocks import CodeBlock
from tests.docs.shown_output import assert_shown
from tests.support.processes import CommandResult, run, started

BASH = shutil.which("bash")
_PROLOGUE = 'set -euo pipefail; [ ! -e "$STATE" ] || . "$STATE" 2> /dev/null; cd "$PAGE_DIRECTORY"\n'
_PROLOGUE += (
    'sleep() { command sleep "$(($1 + 2))"; }\n'  # where a page waits just long enough for a machine of its own
)
_EPILOGUE = """
PAGE_DIRECTORY=$PWD
NOT_OURS='^declare -[a-zA-Z]*r|^declare -[-a-zA-Z]+ (BASH|FUNCNAME|PIPESTATUS|GROUPS|DIRSTACK|_=)'
declare -p | grep -vE "$NOT_OURS" > "$STATE"
"""


class PageShell:
    """The shell of one page, and the servers that the page has started."""

    def __init__(self, folder: Path, environ: Mapping[str, str], substitutions: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = {**environ, "STATE": str(folder / ".shell-state"), "PAGE_DIRECTORY": str(folder)}
        self._substitutions = substitutions
        self._servers = ExitStack()
        self._count = 0

    def __enter__(self) -> PageShell:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def run(self, block: CodeBlock, *, within_seconds: float = 120) -> None:
        """Do what a reader does with the block, and compare what it prints with the output that the page shows."""
        text = self.substituted(block.text)
        if block.file is not None:
            self._directory().joinpath(self.substituted(block.file)).write_text(text, "utf-8")
        elif not block.runs:
            return
        elif url := block.options.get("background"):
            self._start(block, text, self.substituted(url))
        else:
            result = self._run(block, text, within_seconds)
            expected = int(block.options.get("exit", "0"))
            assert result.code == expected, (
                f"{block.place} exited with {result.code} instead of {expected}:\n{text}\n{result.out}\n{result.err}"
            )
            if block.output is not None:
                shown = self.substituted(block.output.text)
                assert_shown(block.output.language, shown, result.out, block.output.place)

    def _run(self, block: CodeBlock, text: str, within_seconds: float) -> CommandResult:
        assert BASH is not None
        if block.language == "python":
            text = _here_document("python3 -", text)
        elif block.language == "js":
            text = _here_document("node --input-type=module -", text)
        expects_failure = "exit" in block.options
        body = f"set +e\n{text}\ncode=$?\nset -e\n" if expects_failure else text
        script = _PROLOGUE + body + _EPILOGUE + ("exit $code\n" if expects_failure else "")
        return run([BASH, "-c", script], self._folder, self._environ, code=None, within_seconds=within_seconds)

    def _start(self, block: CodeBlock, text: str, url: str) -> None:
        assert BASH is not None
        self._count += 1
        *before, last = text.strip().splitlines()
        script = _PROLOGUE + "\n".join([*before, f"exec {last}"])
        process = self._servers.enter_context(
            started([BASH, "-c", script], self._folder, self._environ, f"background{self._count}")
        )
        process.wait_until(lambda: _responds(url), f"{block.place}: {url} responds")

    def _directory(self) -> Path:
        """The directory in which the next block runs."""
        state = Path(self._environ["STATE"])
        if not state.exists():
            return self._folder
        assert BASH is not None
        script = '. "$STATE" 2> /dev/null; printf %s "$PAGE_DIRECTORY"'
        return Path(run([BASH, "-c", script], self._folder, self._environ).out)

    def substituted(self, text: str) -> str:
        """The text with what the test has elsewhere. No number is replaced within a longer one, such as a port."""
        for literal, replacement in self._substitutions.items():
            start = r"(?<!\d)" if literal[0].isdigit() else ""
            end = r"(?!\d)" if literal[-1].isdigit() else ""
            text = re.sub(start + re.escape(literal) + end, replacement.replace("\\", r"\\"), text)
        return text


def _here_document(command: str, text: str) -> str:
    return f"{command} <<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK\n"


def _responds(url: str) -> bool:
    try:
        with urlopen(url, timeout=2):
            return True
    except URLError as error:
        # A response with an error status is a response, and so is a certificate that nobody signed.
        return hasattr(error, "code") or isinstance(error.reason, ssl.SSLCertVerificationError)
    except OSError:
        return False


PYTHON_DIRECTORY = Path(sys.executable).parent
"""Where `python3` and `tokensvc` of the tests are."""
