"""The root command."""

from __future__ import annotations

from typing import Annotated

import typer

from tokensvc import __version__
from tokensvc.cli.help import Commands
from tokensvc.cli.lazy_group import LazyGroup

app = Commands(
    "Issue playback tokens for Amazon IVS private channels, manage signing keys, and revoke viewers.",
    cls=LazyGroup,
    name="tokensvc",
    add_completion=True,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
