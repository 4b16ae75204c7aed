"""The example of the guide for unittest, run by unittest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.code_blocks import code_blocks
from tests.support.processes import environment, run
from tests.support.wheels import ROOT

PAGE = "docs/how-to/test-with-local-ivs.md"


@pytest.mark.slow
def test_the_example_passes_without_pytest(tmp_path: Path) -> None:
    [example] = [block for block in code_blocks(ROOT / PAGE, PAGE) if block.file == "test_app.py"]
    # In the process of unittest: an import of pytest would fail.
    (tmp_path / "test_app.py").write_text(f'import sys\nsys.modules["pytest"] = None\n{example.text}')
    command = [sys.executable, "-W", "error", "-m", "unittest", "test_app.py"]
    result = run(command, tmp_path, environment(tmp_path / "home"))
    assert "Ran 3 tests" in result.err
    assert result.err.rstrip().endswith("OK")
