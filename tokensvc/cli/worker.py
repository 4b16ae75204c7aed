"""`tokensvc worker`."""

from __future__ import annotations

import os

import typer

from tokensvc.settings import read_settings


def worker() -> None:
    """Run the background tasks (key rotation, revocation dispatch) without serving requests.

    Run it beside `serve` processes that have TOKENSVC_BACKGROUND_TASKS=false.
    """
    from tokensvc import supervisor
    from tokensvc.container.logs import configure

    settings = read_settings(os.environ)
    configure(settings.log_format)
    raise typer.Exit(supervisor.run_background(settings))
