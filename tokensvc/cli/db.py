"""`tokensvc db …`: the store's schema."""

from __future__ import annotations

import os

import typer

from tokensvc.cli.output import AsJson, print_result
from tokensvc.cli.policy_values import policy_values
from tokensvc.container.service import apply_deployment_settings, open_configured_store
from tokensvc.settings import read_settings, require, variable_name

app = typer.Typer(help="The store.", no_args_is_help=True, add_completion=False)


@app.callback()
def _db() -> None:
    pass


@app.command()
def upgrade(as_json: AsJson = False) -> None:
    """Make the store, or bring its schema up to date. Settings of the whole deployment, where set, go into it."""
    from tokensvc.storage import migrate

    settings = read_settings(os.environ)
    require(settings, "database_url")
    assert settings.database_url is not None  # noqa: S101 - `require` has just seen to it
    before, after = migrate.upgrade(settings.database_url.get_secret_value())
    store = open_configured_store(settings)
    try:
        was = store.deployment.read()
        deployment = apply_deployment_settings(settings, store)
    finally:
        store.close()
    pairs = zip(policy_values(settings, was), policy_values(settings, deployment), strict=True)
    changes = [(variable_name(now.name), then.stored, now.stored) for then, now in pairs if then.stored != now.stored]
    data = {
        "before": before,
        "after": after,
        "deployment": deployment.id,
        "maxTtlSeconds": deployment.max_ttl_seconds,
        "changed": [{"setting": name, "from": then, "to": now} for name, then, now in changes],
    }
    if before != after:
        state = f"The store went from {before or 'nothing'} to {after}"
    else:
        state = "The store's tables are up to date" if changes else "The store is up to date"
    print_result(
        data,
        as_json,
        f"{state}: deployment {deployment.id}, tokens live at most {deployment.max_ttl_seconds} seconds.",
        *(f"{name} changed from {_format_value(then)} to {_format_value(now)}." for name, then, now in changes),
    )


def _format_value(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if value else "0"
