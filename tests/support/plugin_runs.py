"""Runs of pytest as an app's developers run it: in a folder of their own, with the plugin of `tokensvc.testing`."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import CommandResult, environment, run

PROGRAMS = Path(__file__).parents[1] / "testing/programs"
_SUMMARY = re.compile(r"(\d+) (passed|failed|errors?|xfailed|skipped)")


def run_pytest(
    program: str, folder: Path, *options: str, code: int = 0, variables: Mapping[str, str] | None = None
) -> CommandResult:
    """Run one of the programs as the only test file of a folder, with every warning an error."""
    shutil.copy(PROGRAMS / f"{program}.py", folder / f"test_{program}.py")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options]
    return run(command, folder, environment(folder / "home", variables), code=code)


def counts(result: CommandResult) -> dict[str, int]:
    """How many tests passed, failed and so on, as pytest's last line says."""
    last = result.out.strip().splitlines()[-1]
    return {name: int(number) for number, name in _SUMMARY.findall(last)}
