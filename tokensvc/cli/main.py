"""All commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from tokensvc import __version__
from tokensvc.cli.lazy_group import LazyGroup

app = typer.Typer(
    cls=LazyGroup,
    name="tokensvc",
    help="Playback-authorization tokens for Amazon IVS private channels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass
