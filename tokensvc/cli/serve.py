"""`tokensvc serve`, for `--help` and wrong options; without arguments, `cli/__init__.py` starts the server directly."""

from __future__ import annotations

import os

import typer

from tokensvc.cli.help import examples


@examples(
    ("Serve with the settings of the environment", "tokensvc serve"),
    (
        "On another port, with two worker processes and an admin listener",
        "TOKENSVC_PORT=8090 TOKENSVC_WORKERS=2 TOKENSVC_ADMIN_PORT=9090 tokensvc serve",
    ),
)
def serve() -> None:
    """Serve the HTTP API. TOKENSVC_* environment variables configure it; `tokensvc settings` shows them."""
    from tokensvc.supervisor import serve_from_env

    raise typer.Exit(serve_from_env(os.environ))
