"""The root command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tokensvc import __version__
from tokensvc.cli.config_option import SettingsFileOption
from tokensvc.cli.help import Commands
from tokensvc.cli.lazy_group import LazyGroup
from tokensvc.cli.zsh_completion import INSTALLING, use_script

if INSTALLING & set(sys.argv):
    use_script()

app = Commands(
    "Issue playback tokens for Amazon IVS private channels, manage signing keys, and revoke viewers.",
    cls=LazyGroup,
    name="tokensvc",
    add_completion=True,
)


def _print_version(requested: bool) -> None:
    if requested:
        from tokensvc.cli.output import print_text
        from tokensvc.commit import source_commit

        print_text(f"tokensvc {__version__} (commit {source_commit()})")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and the commit, and exit."
        ),
    ] = False,
    _config: SettingsFileOption = None,
) -> None:
    pass
