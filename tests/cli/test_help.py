"""Help: `-h` and `--help` after every command, with examples, without types that say nothing."""

from __future__ import annotations

import pytest

from docs.generator.cli import commands
from tests.cli.terminal import Terminal
from tokensvc.cli.help import parameters_of
from tokensvc.cli.lazy_group import COMMANDS

PATHS = ["", *COMMANDS, *(path.removeprefix("tokensvc ") for path in commands() if path.count(" ") > 1)]


@pytest.mark.parametrize("path", PATHS)
def test_both_options_show_the_same_help(bare: Terminal, path: str) -> None:
    result = bare(*path.split(), "-h")
    assert result.out == bare(*path.split(), "--help").out
    assert "-h, --help" in result.out
    assert "tokensvc" in result.out.splitlines()[0]
    assert result.err == ""


@pytest.mark.parametrize("path", commands())
def test_help_ends_with_examples_and_names_every_value(bare: Terminal, path: str) -> None:
    result = bare(*path.split()[1:], "-h").out
    assert path in result.partition("\nExamples:\n")[2]
    for meaningless in ("<bool>", "BOOLEAN", " TEXT ", "<str>", "INTEGER", "FLOAT"):
        assert meaningless not in result.replace("--audience TEXT ", "").replace("--reason TEXT ", "")


def test_a_switch_that_has_two_states_is_two_options() -> None:
    names = {p.name for command in commands().values() for p in parameters_of(command)}
    assert "--force-single-use / --no-force-single-use" in names
    assert "--wait / --no-wait" in names


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}])
def test_nothing_is_coloured(bare: Terminal, variables: dict[str, str]) -> None:
    bare.environ |= variables
    for arguments, code in ((("keys", "-h"), 0), (("settings",), 0), (("nothing",), 2), (("keys", "list"), 1)):
        result = bare(*arguments, code=code)
        assert "\x1b" not in result.out + result.err
