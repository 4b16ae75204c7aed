"""No committed file contains an absolute path of a machine or the host of a package registry."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tokensvc

ROOT = Path(tokensvc.__file__).parent.parent
MACHINE = re.compile(r"/(?:home|root|Users|work)/\w|https?://[^\s/]*(?:pypi|pythonhosted|jfrog|artifactory)")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_no_committed_file_knows_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a clone")
    files = [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]
    texts = ((path, path.read_text("utf-8", "replace")) for path in files)
    assert not [f"{path}: {match[0]}" for path, text in texts for match in MACHINE.finditer(text)]
