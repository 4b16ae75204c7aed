"""The README matches the code, in both directions.

Invariants
- The README's tables are compared with the code: settings, commands, metrics.
- No committed file contains an absolute path of a machine or the host of a package registry.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main

import tokensvc
from tokensvc.callers.policy import SCOPES
from tokensvc.cli.main import app
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.keys.lifecycle import KeyState, diagram
from tokensvc.settings import Settings, variable_name

ROOT = Path(tokensvc.__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SOURCES = sorted((ROOT / "tokensvc").rglob("*.py"))
NOTHING = "\N{EN DASH}"


def _section(heading: str) -> str:
    """The text below a heading, up to the next of its rank or higher."""
    rank = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}$\n(.*?)(?=^#{{2,{len(rank)}}} |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {heading}"
    return found[1]


def _first_cells(heading: str) -> list[str]:
    """What the first column of a section's table names, without its ticks."""
    cells = re.findall(r"^\| `([^`]+)`", _section(heading), re.MULTILINE)
    assert len(cells) == len(set(cells))
    return cells


def _commands(command: typer.core.TyperCommand | typer.core.TyperGroup, path: str) -> Iterator[tuple[str, bool]]:
    """Every command that can be run, and whether it takes --json."""
    if isinstance(command, typer.core.TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), f"{path} {name}")  # type: ignore[arg-type] # typer makes nothing else
    else:
        yield path, any("--json" in parameter.opts for parameter in command.params)


COMMANDS = dict(_commands(typer.main.get_command(app), "tokensvc"))  # type: ignore[arg-type] # as above


def test_every_setting_is_there_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(TOKENSVC_\w+)` \| (.*?) \|", _section("### Settings"), re.MULTILINE))
    expected = {}
    for name, field in Settings.model_fields.items():
        value = field.default
        text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value
        expected[variable_name(name)] = f"`{text}`" if value not in (None, ()) else NOTHING
    assert rows == expected


def test_every_variable_that_is_named_anywhere_is_a_setting() -> None:
    known = {variable_name(name) for name in Settings.model_fields} | {"TOKENSVC_X"}
    named = set(re.findall(r"TOKENSVC_[A-Z_]*[A-Z]", README + (ROOT / "CHANGELOG.md").read_text("utf-8")))
    assert {name.removesuffix("_FILE") for name in named} <= known


def test_every_command_is_there() -> None:
    assert sorted(_first_cells("### Commands")) == sorted(COMMANDS)


def test_every_command_that_is_named_anywhere_exists() -> None:
    groups = {command.split()[1] for command in COMMANDS if len(command.split()) == 3}
    for path in (ROOT / "README.md", ROOT / "keys/README.md", *SOURCES):
        for group, verb in re.findall(r"(?<!\w)tokensvc ([a-z]+) ([a-z][a-z-]+)", _text(path)):
            assert group not in groups or f"tokensvc {group} {verb}" in COMMANDS, f"{path}: {group} {verb}"


def test_which_commands_take_json() -> None:
    said = re.search(r"Every command except (.*?) supports `--json`", _section("### Commands"), re.DOTALL)
    assert said
    assert set(re.findall(r"`([^`]+)`", said[1])) == {
        command.removeprefix("tokensvc ") for command, takes_json in COMMANDS.items() if not takes_json
    }


def test_the_states_of_a_key_are_drawn_as_the_table_of_moves_has_them() -> None:
    drawn = re.findall(r"^```mermaid\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)
    assert drawn == [diagram()]
    assert _first_cells("### The life of a key") == [state.value for state in KeyState]


def test_every_metric_is_there_with_its_labels() -> None:
    metrics = PrometheusMetrics()
    described = {}
    for family in metrics._registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        described[name] = family
    rows = dict(re.findall(r"^\| `(tokensvc_\w+)(?:\{([\w,]+)\})?`", _section("### Metrics"), re.MULTILINE))
    assert set(rows) == set(described)
    source = (ROOT / "tokensvc" / "container" / "prometheus.py").read_text("utf-8")
    for name, labels in rows.items():
        plain = name.removesuffix("_total")
        declared = re.search(rf'"{plain}",\s*"[^"]*",\s*(?:\[([^\]]*)\])?', source)
        assert declared, name
        assert labels == ",".join(re.findall(r"\w+", declared[1] or ""))


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
