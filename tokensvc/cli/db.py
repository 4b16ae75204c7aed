"""`tokensvc db …`: the database schema."""

from __future__ import annotations

import os

from tokensvc.audit.requester import Requester
from tokensvc.cli.help import Commands, examples
from tokensvc.cli.operator import operator_actor
from tokensvc.cli.output import AsJson, print_result
from tokensvc.cli.policy_values import policy_values
from tokensvc.container.deployment import apply_deployment_settings
from tokensvc.container.store import open_configured_store
from tokensvc.settings import read_settings, require, variable_name

app = Commands("Create and upgrade the database.")


@app.callback()
def _db() -> None:
    pass


@app.command()
@examples(
    ("Create the store, or upgrade its schema", "tokensvc db upgrade"),
    ("Change a limit of the deployment", "TOKENSVC_MAX_TTL_SECONDS=600 tokensvc db upgrade"),
)
def upgrade(as_json: AsJson = False) -> None:
    """Create the database or upgrade its schema. Deployment-wide limits that are set here are stored in it."""
    from tokensvc.storage import migrate

    settings = read_settings(os.environ)
    require(settings, "database_url")
    assert settings.database_url is not None  # noqa: S101 - `require` has just checked it
    before, after = migrate.upgrade(settings.database_url.get_secret_value())
    store = open_configured_store(settings)
    try:
        previous = store.deployment.read()
        deployment = apply_deployment_settings(settings, store, Requester(operator_actor()))
    finally:
        store.close()
    pairs = zip(policy_values(settings, previous), policy_values(settings, deployment), strict=True)
    changes = [(variable_name(new.name), old.stored, new.stored) for old, new in pairs if old.stored != new.stored]
    data = {
        "before": before,
        "after": after,
        "deployment": deployment.id,
        "maxTtlSeconds": deployment.max_ttl_seconds,
        "changed": [{"setting": name, "from": old, "to": new} for name, old, new in changes],
    }
    if before is None:
        state = f"Database created (schema {after})"
    elif before != after:
        state = f"Database upgraded from schema {before} to {after}"
    else:
        state = f"The {'schema' if changes else 'database'} is up to date (schema {after})"
    print_result(
        data,
        as_json,
        f"{state}. Deployment {deployment.id}; maximum token lifetime {deployment.max_ttl_seconds} seconds.",
        *(f"{name} changed from {_format_value(old)} to {_format_value(new)}." for name, old, new in changes),
    )


def _format_value(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if value else "0"
