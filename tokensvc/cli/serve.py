"""`tokensvc serve`."""

from __future__ import annotations

import os

import typer

from tokensvc.settings import read_settings


def serve() -> None:
    """Serve tokens over HTTP, as the TOKENSVC_… settings say."""
    from tokensvc import serving
    from tokensvc.adapters.logs import configure

    settings = read_settings(os.environ)
    configure(settings.log_format)
    raise typer.Exit(serving.serve(settings))
