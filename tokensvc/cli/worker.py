"""`tokensvc worker`."""

from __future__ import annotations

import os

import typer

from tokensvc.cli.help import examples
from tokensvc.settings import read_settings


@examples(
    ("Run the background tasks", "tokensvc worker"),
    ("With metrics and a liveness probe on port 9091", "TOKENSVC_ADMIN_PORT=9091 tokensvc worker"),
)
def worker() -> None:
    """Run the background tasks (key rotation, revocation dispatch) without serving requests.

    Run it beside `serve` processes that have TOKENSVC_BACKGROUND_TASKS=false.
    """
    from tokensvc import supervisor
    from tokensvc.container.logs import configure

    settings = read_settings(os.environ)
    configure(settings.log_format, settings.log_level)
    raise typer.Exit(supervisor.run_background(settings))
