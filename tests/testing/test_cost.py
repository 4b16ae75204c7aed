"""What the plugin costs a test run: nothing if it is not used, and little to be ready."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

PASS = "pass"
READY = "from tokensvc.testing import LocalIVS\nwith LocalIVS(): pass"
READY_MAX = 40
"""How often the CPU time of `python -c pass` a process may use to start and to have a local IVS that answers: 32 when
this was written."""
IMPORT_SHARE_MAX = 0.05
"""The part that the plugin may have of the time in which pytest is imported: 0.008 when this was written."""
_LINE = re.compile(r"import time: +\d+ \| +(\d+) \| *(\S+)$", re.MULTILINE)


def imported(statement: str) -> dict[str, int]:
    """The modules that a statement imports, with the microseconds that each took with those that it imports."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {name: int(microseconds) for microseconds, name in _LINE.findall(shown)}


def cpu_seconds(program: str) -> float:
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_pytest_imports_three_small_modules() -> None:
    before, after = imported("import pytest"), imported("import pytest, tokensvc.testing.plugin")
    assert after.keys() - before.keys() == {"tokensvc", "tokensvc.testing", "tokensvc.testing.plugin"}
    took = min(imported("import pytest, tokensvc.testing.plugin")["tokensvc.testing.plugin"] for _ in range(3))
    assert took < IMPORT_SHARE_MAX * after["pytest"]


@pytest.mark.long
@pytest.mark.timing
def test_a_local_ivs_is_ready_in_little_time() -> None:
    ready, nothing = (min(cpu_seconds(program) for _ in range(7)) for program in (READY, PASS))
    print(f"\na local IVS is ready in {ready:.3f} s of CPU time, {ready / nothing:.1f} times that of `python -c pass`")
    assert ready < READY_MAX * nothing


def test_the_programs_of_these_tests_are_all_run() -> None:
    text = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for program in (Path(__file__).parent / "programs").glob("*.py"):
        assert f'"{program.stem}"' in text, program
