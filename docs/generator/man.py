"""The manual page `tokensvc.1`, from the commands themselves (`tokensvc/cli/help.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docs.generator.cli import EXIT_CODES, commands, own_parameters
from tokensvc import __version__
from tokensvc.cli.help import Parameter, command_lines, description, examples_of, synopsis
from tokensvc.cli.lazy_group import COMMANDS

FILE = Path(__file__).resolve().parents[2] / "tokensvc" / "cli" / "tokensvc.1"
"""It is beside the code so that every build of the package has it; the wheel installs it as `share/man/man1`."""
_WIDTH = 72


def page() -> str:
    """The page in the macros of man(7)."""
    lines = [
        f'.TH TOKENSVC 1 "" "tokensvc {__version__}" "User Commands"',
        ".SH NAME",
        _text("tokensvc - playback tokens for Amazon IVS private channels"),
        ".SH SYNOPSIS",
        ".B tokensvc",
        _text("[--config FILE] [--version] [-h | --help] COMMAND [OPTIONS]"),
        ".SH DESCRIPTION",
        _text(
            "Issues playback tokens for Amazon IVS private channels, manages the signing keys, and revokes viewers. "
            "Commands act on the deployment that the settings name: environment variables that begin with TOKENSVC_, "
            "and a settings file in TOML. The environment takes precedence."
        ),
        ".SH OPTIONS",
        *_option("--config FILE", "TOML file with settings, before or after the command, instead of TOKENSVC_CONFIG."),
        *_option("--version", "Print the version and the commit, and exit."),
        *_option("-h, --help", "Print help and exit; after a command, its help."),
        *_option("--install-completion", "Install completion for the current shell: bash, zsh or fish."),
        *_option("--show-completion", "Print the completion script of the current shell."),
        ".P",
        _text("A DURATION is 90s, 5m, 2h, 1d, 1h30m, or a number of seconds."),
        ".SH COMMANDS",
    ]
    for name, sentence in COMMANDS.items():
        lines += [".TP", rf".B {_escaped(name)}", _text(sentence)]
    for path, command in commands().items():
        lines += [f'.SH "{_escaped(path)}"', rf".B {_escaped(synopsis(command, path))}"]
        for paragraph in description(command).split("\n\n"):
            lines += [".P", _text(paragraph)]
        for parameter in own_parameters(command):
            lines += _option(parameter.name, _meaning(parameter))
        for example in examples_of(command):
            lines += [".P", _text(f"{example.purpose}:"), ".P", ".RS 4", ".nf"]
            lines += [_verbatim(line) for line in command_lines(example.command, _WIDTH)]
            lines += [".fi", ".RE"]
    lines.append('.SH "EXIT STATUS"')
    for code, meaning in EXIT_CODES:
        lines += _option(code, meaning.replace("`", ""))
    lines.append(".SH ENVIRONMENT")
    lines += _option("TOKENSVC_CONFIG", "The settings file.")
    lines += _option("TOKENSVC_*", "The settings, each also in a file named by TOKENSVC_*_FILE: see tokensvc settings.")
    lines += _option("AWS_*", "Region, credentials and endpoint, as for every AWS SDK.")
    lines += _option("NO_COLOR", "Has no effect: commands print no colours.")
    return "\n".join(lines) + "\n"


def _option(name: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield rf".B {_escaped(name)}"
    yield _text(meaning)


def _meaning(parameter: Parameter) -> str:
    limits = f" {parameter.allowed.capitalize()}." if parameter.allowed else ""
    default = f" Default: {parameter.default}." if parameter.default else ""
    return f"{parameter.meaning}{limits}{default}"


def _text(text: str) -> str:
    """A paragraph on one line."""
    return _protected(_escaped(" ".join(text.replace("`", "").split())))


def _verbatim(line: str) -> str:
    return _protected(_escaped(line))


def _escaped(text: str) -> str:
    r"""Backslashes, hyphens that are to be copied, and quotes that groff would make typographic."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    escaped = escaped.replace('"', r"\(dq").replace("^", r"\(ha").replace("~", r"\(ti")
    return re.sub(r"[^\x00-\x7f]", lambda found: rf"\[u{ord(found[0]):04X}]", escaped)


def _protected(line: str) -> str:
    """A line that begins like a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
