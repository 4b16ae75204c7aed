"""`tokensvc serve`, for `--help` and wrong options: without any it goes past the command line (`cli/__init__.py`)."""

from __future__ import annotations

import os

import typer


def serve() -> None:
    """Serve tokens over HTTP, as the TOKENSVC_… settings say."""
    from tokensvc.supervisor import serve_from_env

    raise typer.Exit(serve_from_env(os.environ))
