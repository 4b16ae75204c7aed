"""`tokensvc db …`: the store's schema."""

from __future__ import annotations

import os

import typer

from tokensvc.cli.screen import AsJson, result
from tokensvc.settings import read_settings, require
from tokensvc.wiring import keep_policy, store_of

app = typer.Typer(help="The store.", no_args_is_help=True, add_completion=False)


@app.callback()
def _db() -> None:
    pass


@app.command()
def upgrade(as_json: AsJson = False) -> None:
    """Make the store, or bring its schema up to date. Settings of the whole deployment, where set, go into it."""
    from tokensvc.adapters.sql import migrate

    settings = read_settings(os.environ)
    require(settings, "database_url")
    assert settings.database_url is not None  # noqa: S101 - `require` has just seen to it
    before, after = migrate.upgrade(settings.database_url.get_secret_value())
    store = store_of(settings)
    try:
        deployment = keep_policy(settings, store)
    finally:
        store.close()
    data = {"before": before, "after": after, "deployment": deployment.id, "maxTtlSeconds": deployment.max_ttl_seconds}
    changed = "is up to date" if before == after else f"went from {before or 'nothing'} to {after}"
    result(
        data,
        as_json,
        f"The store {changed}: deployment {deployment.id}, tokens live at most {deployment.max_ttl_seconds} seconds.",
    )
