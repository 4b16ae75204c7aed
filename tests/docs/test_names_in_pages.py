"""What the pages name exists: settings, commands, scopes, make targets. The reference itself is generated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tokensvc
from docs.generator.cli import commands
from tests.docs.code_blocks import code_blocks
from tests.docs.test_links import PAGES
from tokensvc.callers.policy import SCOPES
from tokensvc.settings import Settings, variable_name
from tokensvc.settings_file import CONFIG_VARIABLE

ROOT = Path(tokensvc.__file__).parent.parent
SOURCES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tokensvc").rglob("*.py"))
COMMANDS = commands()
VARIABLES = {variable_name(name) for name in Settings.model_fields} | {"TOKENSVC_X", CONFIG_VARIABLE}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_every_variable_is_a_setting() -> None:
    for page in PAGES:
        # A name that ends in an underscore is a prefix.
        named = {name for name in re.findall(r"TOKENSVC_[A-Z_]+", _text(page)) if not name.endswith("_")}
        assert {name.removesuffix("_FILE") for name in named} <= VARIABLES, page


@pytest.mark.slow
def test_every_command_exists() -> None:
    groups = {command.split()[1] for command in COMMANDS if len(command.split()) == 3}
    for path in (*PAGES, *SOURCES):
        for group, verb in re.findall(r"(?<!\w)tokensvc ([a-z]+) ([a-z][a-z-]+)", _text(path)):
            assert group not in groups or f"tokensvc {group} {verb}" in COMMANDS, f"{path}: {group} {verb}"


def test_every_scope_exists() -> None:
    for page in PAGES:
        named = re.findall(r"`((?:tokens|revocations|callers):[a-z]+|keys:(?:read|admin))`", _text(page))
        assert set(named) <= set(SCOPES), page


def test_every_make_target_exists() -> None:
    for page in (*PAGES, ".ci/run"):
        assert set(re.findall(r"(?:^|`|: )make ([a-z][a-z-]*)", _text(page), re.MULTILINE)) <= TARGETS, page


def test_the_readme_runs_in_production_what_the_guide_does() -> None:
    """The guide's own commands are run; the README has the same ones, and passes as variables what the guide puts into
    a file."""
    [shown] = [block for block in code_blocks(ROOT / "README.md", "README.md") if "tokensvc serve" in block.text]
    guide = code_blocks(ROOT / "docs/how-to/deploy.md", "docs/how-to/deploy.md")
    run = " ".join(" ".join(block.text for block in guide if block.runs).replace("\\\n", " ").split())
    settings = "".join(block.text for block in guide if block.file == "/etc/tokensvc/environment").replace("'", "")
    for line in shown.text.splitlines():
        command = " ".join(line.partition("  #")[0].split())
        if command.startswith("export "):
            assert all(setting in settings for setting in command.split()[1:]), command
        else:
            assert command in run
