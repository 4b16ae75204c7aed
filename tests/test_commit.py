"""The commit that `--version` and `tokensvc_build_info` name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tokensvc import commit

pytestmark = pytest.mark.slow

SOURCE = Path(commit.__file__).parent
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]


def installed(folder: Path) -> Path:
    """A package with the module and nothing else."""
    package = folder / "tokensvc"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(SOURCE / "commit.py", package)
    return package


def commit_of(folder: Path, **environ: str) -> str:
    code = "from tokensvc.commit import source_commit; print(source_commit())"
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    return subprocess.run(command, env=environ or None, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(folder: Path) -> str:
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    return subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout


@needs_git
def test_a_checkout_asks_git_and_says_whether_it_is_modified(tmp_path: Path) -> None:
    package = installed(tmp_path)
    head = commit_all(tmp_path)[:12]
    assert commit_of(tmp_path) == head
    (package / "__init__.py").write_text("x = 1\n")
    assert commit_of(tmp_path) == f"{head}-modified"


@needs_git
def test_a_repository_around_an_installed_package_is_not_asked(tmp_path: Path) -> None:
    installed(tmp_path / "venv")
    commit_all(tmp_path)
    assert commit_of(tmp_path / "venv") == "unknown"


@needs_git
def test_a_checkout_without_git_has_an_unknown_commit(tmp_path: Path) -> None:
    installed(tmp_path)
    commit_all(tmp_path)
    assert commit_of(tmp_path, PATH="/nonexistent") == "unknown"


def test_a_build_has_its_commit_in_a_generated_file(tmp_path: Path) -> None:
    (installed(tmp_path) / commit.GENERATED).write_text("COMMIT = '0123456789ab'\n")
    assert commit_of(tmp_path) == "0123456789ab"
