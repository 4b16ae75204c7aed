"""Shell completion: offered by the root command only, and working in real shells once installed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal as CommandRunner
from tokensvc.cli.lazy_group import COMMANDS, load_command

pytestmark = [pytest.mark.e2e, pytest.mark.long]

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


def test_the_root_command_offers_to_install_completion(bare: CommandRunner) -> None:
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
        ("tokensvc tokens issue --output ", ["json", "token", "url"]),
        ("tokensvc serve x", []),
        ("tokensvc d", ["db", "demo", "denials", "doctor"]),
    ],
)
def test_bash_completes_commands_once_completion_is_installed(tmp_path: Path, typed: str, offered: list[str]) -> None:
    """Calls the registered completion function with the words, as bash does at TAB."""
    environ = install("bash", tmp_path)
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


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed: make system-packages")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tokensvc revocations list --state fa", ["failed"]),
        ("tokensvc d", ["db", "demo", "denials", "doctor"]),
    ],
)
def test_fish_completes_commands_once_completion_is_installed(tmp_path: Path, typed: str, offered: list[str]) -> None:
    environ = install("fish", tmp_path)
    done = subprocess.run(
        ["fish", "-c", f"complete -C '{typed}'"], env=environ, check=True, capture_output=True, text=True
    )
    assert sorted(line.partition("\t")[0] for line in done.stdout.splitlines()) == offered


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_completes_in_the_shell(tmp_path: Path, shell: str) -> None:
    """Types into the shell on a terminal, and presses TAB. The completed line is printed by `echo` in front of it."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: make system-packages")
    with Terminal(shell, install(shell, tmp_path), tmp_path) as terminal:
        terminal.type("echo rea''dy\n")
        terminal.wait_for("\nready")
        terminal.type("tokensvc revocations list --stat\t")
        terminal.wait_for("--state")
        terminal.type("fai\t")
        terminal.wait_for("failed")
        terminal.type("\x01echo got: \n")
        terminal.wait_for("\ngot: tokensvc revocations list --state failed")


def install(shell: str, home: Path) -> dict[str, str]:
    """Install the completion for a user of this shell; returns the user's environment."""
    environ = {
        "HOME": str(home),
        "PATH": f"{TOKENSVC.parent}:{os.environ['PATH']}",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    # `true` keeps the shell running meanwhile: the command finds out by its parent which shell it is installed for.
    subprocess.run([shell, "-c", "tokensvc --install-completion; true"], env=environ, check=True, capture_output=True)
    return environ


class Terminal:
    """An interactive shell on a terminal."""

    def __init__(self, shell: str, environ: dict[str, str], folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [shell, *(["--noprofile"] if shell == "bash" else []), "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(theirs)
        self._shown = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        self._shown = b""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the terminal has shown the text, since something was typed."""
        ends_at = time.monotonic() + SHOWN_WITHIN_SECONDS
        while text.encode() not in _CONTROL.sub(b"", self._shown):
            assert time.monotonic() < ends_at, f"not shown: {text!r}\n{self._shown!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self._shown += os.read(self._ours, 65536)


SHOWN_WITHIN_SECONDS = 30
_CONTROL = re.compile(rb"\x1b\[[0-9;?<>=]*[A-Za-z@]|\x1b[=>]|\x1b[()][0-9A-B]|\x1b\][^\x07]*\x07|[\r\x08\x0f]")
"""Escape sequences and cursor movements."""
