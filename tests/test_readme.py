"""The README matches the code, in both directions.

Invariants
- Every setting, command, scope and make target that a page names exists.
- No committed file contains an absolute path of a machine or the host of a package registry.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tokensvc
from docs.generator.cli import commands
from tests.docs.test_links import PAGES
from tokensvc.callers.policy import SCOPES
from tokensvc.settings import Settings, variable_name

ROOT = Path(tokensvc.__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SOURCES = sorted((ROOT / "tokensvc").rglob("*.py"))


COMMANDS = commands()


def test_every_variable_that_is_named_anywhere_is_a_setting() -> None:
    known = {variable_name(name) for name in Settings.model_fields} | {"TOKENSVC_X"}
    for page in PAGES:
        named = {
            name for name in re.findall(r"TOKENSVC_[A-Z_]+", _text(page)) if not name.endswith("_")
        }  # others: a prefix
        assert {name.removesuffix("_FILE") for name in named} <= known, page


def test_every_command_that_is_named_anywhere_exists() -> None:
    groups = {command.split()[1] for command in COMMANDS if len(command.split()) == 3}
    for path in [*map(Path, PAGES), *SOURCES]:
        for group, verb in re.findall(r"(?<!\w)tokensvc ([a-z]+) ([a-z][a-z-]+)", _text(path)):
            assert group not in groups or f"tokensvc {group} {verb}" in COMMANDS, f"{path}: {group} {verb}"


def test_every_scope_that_is_named_exists() -> None:
    assert set(re.findall(r"`((?:tokens|revocations|callers):[a-z]+|keys:(?:read|admin))`", README)) <= set(SCOPES)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))
    named = set(
        re.findall(
            r"(?:^|`|: )make ([a-z][a-z-]*)", README + _text("benchmarks/README.md") + _text(".ci/run"), re.MULTILINE
        )
    )
    assert (
        {"demo", "test", "check", "bench", "bench-peers", "bench-guard", "load", "system-packages", "bench-packages"}
        <= named
        <= targets
    )


def test_every_link_resolves() -> None:
    for page in ("README.md", "keys/README.md", "CHANGELOG.md", "benchmarks/README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", _text(page)):
            if not target.startswith("https://"):
                assert (ROOT / page).parent.joinpath(target).exists(), target


def _text(path: str | Path) -> str:
    return (ROOT / path).read_text("utf-8")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_no_committed_file_knows_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone")
    machine = re.compile(r"/(?:home|root|Users|work)/\w|https?://[^\s/]*(?:pypi|pythonhosted|jfrog|artifactory)")
    files = [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]
    found = [f"{path}: {match[0]}" for path in files for match in machine.finditer(_text(path))]
    assert not found
