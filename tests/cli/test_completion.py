"""Shell completion: offered by the root command only, and working in a real bash once installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tokensvc.cli.lazy_group import COMMANDS, load_command

pytestmark = pytest.mark.e2e

TOKENSVC = Path(sys.executable).parent / "tokensvc"
OPTIONS = {"--install-completion", "--show-completion"}

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def options_of(command: object) -> set[str]:
    """The options of a command and of all its subcommands."""
    own = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
    return own.union(*(options_of(below) for below in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("noun", COMMANDS)
def test_no_command_group_offers_to_install_completion(noun: str) -> None:
    """A completion installed by a subcommand would be called for every command line."""
    assert not options_of(load_command(noun)) & OPTIONS


def test_the_root_command_offers_to_install_completion(bare: Terminal) -> None:
    result = bare("--help").out
    assert all(option in result for option in OPTIONS)


@needs_bash
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tokensvc k", ["keys"]),
        ("tokensvc re", ["revocations"]),
        ("tokensvc keys ro", ["rotate"]),
        ("tokensvc keys rotate --dr", ["--dry-run"]),
        ("tokensvc revocations list --state fa", ["failed"]),
        ("tokensvc serve x", []),
        ("tokensvc d", ["db", "demo", "denials", "doctor"]),
    ],
)
def test_bash_completes_commands_once_completion_is_installed(tmp_path: Path, typed: str, offered: list[str]) -> None:
    """Calls the registered completion function with the words, as bash does at TAB."""
    environ = {"HOME": str(tmp_path), "PATH": f"{TOKENSVC.parent}:{os.environ['PATH']}", "TERM": "dumb"}
    installing = ["bash", "--noprofile", "--norc", "-c", "tokensvc --install-completion; true"]
    subprocess.run(installing, env=environ, check=True, capture_output=True)
    *_, last = words = typed.split(" ")
    script = f"""
        source "$HOME/.bashrc"
        COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1} COMP_LINE='{typed}' COMP_POINT={len(typed)}
        "$(complete -p tokensvc | sed 's/.* -F \\([^ ]*\\).*/\\1/')" tokensvc '{last}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script], env=environ, check=True, capture_output=True, text=True
    )
    assert (sorted(done.stdout.split()), done.stderr) == (offered, "")
