"""`tokensvc serve`, for `--help` and wrong options; without arguments, `cli/__init__.py` starts the server directly."""

from __future__ import annotations

import os

import typer


def serve() -> None:
    """Serve the HTTP API. TOKENSVC_* environment variables configure it; `tokensvc settings` shows them."""
    from tokensvc.supervisor import serve_from_env

    raise typer.Exit(serve_from_env(os.environ))
