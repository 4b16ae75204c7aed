"""The lesson of the tutorial works where nothing but the wheel and its extra `test` is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.code_blocks import code_blocks
from tests.support.plugin_runs import counts
from tests.support.processes import run
from tests.support.wheels import ROOT, UNAVAILABLE_REASON, build, constraints, copy_sources, make_environment, pip

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(UNAVAILABLE_REASON), reason=UNAVAILABLE_REASON)]
PAGE = "docs/tutorial/test-your-app.md"


def test_the_tests_of_the_lesson_pass(tmp_path: Path) -> None:
    """Among them one in which an expired token is refused, and one in which a revoked viewer is."""
    wheel = build("wheel", copy_sources(tmp_path / "sources"), tmp_path / "built", "--config-setting", "native=off")
    bare = make_environment(tmp_path / "bare")
    locked = [word for lock in ("run", "test") for word in ("-c", constraints(tmp_path, lock))]
    pip(bare, "install", *locked, f"{wheel}[test]")
    folder = tmp_path / "playback-tests"
    folder.mkdir()
    for block in code_blocks(ROOT / PAGE, PAGE):
        if block.file is not None:
            (folder / block.file).write_text(block.text)
    assert 'rule) == (403, "expiry")' in (folder / "test_playback.py").read_text()
    assert 'rule) == (403, "revoked")' in (folder / "test_playback.py").read_text()
    command = [str(bare / "bin/python"), "-m", "pytest", "-q", "-W", "error"]
    result = run(command, folder, {"HOME": str(tmp_path), "PATH": ""})
    assert counts(result) == {"passed": 12}
