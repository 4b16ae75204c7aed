"""The commit of git that the running code was built from.

Invariants
- A wheel and a source distribution have it in `tokensvc/_commit.py`, which the build generates and git ignores. A
  checkout asks git. Neither is done before somebody asks, since no other command should wait for git.
- The repository around an installed package, such as one with a virtual environment in it, is never asked.
"""

from __future__ import annotations

import functools
from importlib import import_module
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"
GENERATED = "_commit.py"
"""The name of the generated file: its only content is the constant COMMIT."""
_DIGITS = 12
_TIMEOUT_SECONDS = 5


@functools.cache
def source_commit() -> str:
    """The first 12 digits of the commit, followed by `-modified` if tracked files differ from it; or `unknown`."""
    try:
        generated: Any = import_module(f"tokensvc.{GENERATED.removesuffix('.py')}")
    except ImportError:
        return _commit_of_checkout(Path(__file__).parents[1])
    return str(generated.COMMIT)


def _commit_of_checkout(root: Path) -> str:
    if not (root / ".git").exists():
        return UNKNOWN
    import subprocess

    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--exclude=*",
        "--dirty=-modified",
        f"--abbrev={_DIGITS}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_SECONDS)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip()
