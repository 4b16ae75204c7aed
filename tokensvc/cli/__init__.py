"""The `tokensvc` command: one file a noun.

Rules of the room
- A command parses, calls a use case and prints; it decides nothing itself.
- Exit codes: 0 done or nothing to do (3 for that, where asked for), 1 failed, 2 wrong use or settings, 4 refused by a
  rule.
"""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
import typer

from tokensvc import __version__
from tokensvc.adapters.logs import star
from tokensvc.cli.nouns import Nouns
from tokensvc.errors import Conflict, InvalidRequest, NotAllowed, SettingsError, TokensvcError

app = typer.Typer(
    cls=Nouns,
    name="tokensvc",
    help="Playback-authorization tokens for Amazon IVS private channels.",
    no_args_is_help=True,
    add_completion=False,
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


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except TokensvcError as failure:
        sys.exit(_refuse(failure))


def _refuse(failure: TokensvcError) -> int:
    message = star(failure.message)
    if "--json" in sys.argv:
        typer.echo(orjson.dumps({"error": {"code": failure.code, "message": message}}).decode(), err=True)
    else:
        typer.echo(f"tokensvc: {message}", err=True)
    if isinstance(failure, SettingsError | InvalidRequest):
        return 2
    return 4 if isinstance(failure, Conflict | NotAllowed) else 1
