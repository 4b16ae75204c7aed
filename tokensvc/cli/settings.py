"""`tokensvc settings`."""

from __future__ import annotations

import os

from tokensvc.adapters.sql.database_urls import masked
from tokensvc.cli.screen import AsJson, result, table
from tokensvc.errors import SettingsError
from tokensvc.settings import Settings, read_settings, sources, variable
from tokensvc.vaulting import only_open, vault_in, wraps


def settings(as_json: AsJson = False) -> None:
    """Show each setting's effective value and where it comes from. Secrets are starred, of a URL its password alone."""
    values = read_settings(os.environ)
    origins = sources(os.environ)
    shown = {name: _shown(getattr(values, name)) for name in origins} | {"vault": _vault(values)}
    if values.database_url is not None:
        shown["database_url"] = masked(values.database_url.get_secret_value())
    data = {variable(name): {"value": shown[name], "source": origins[name]} for name in origins}
    rows = [(variable(name), shown[name], origins[name]) for name in origins]
    result(data, as_json, *table(("SETTING", "VALUE", "SOURCE"), rows), "", *_wrapping(values))


def _vault(values: Settings) -> str:
    """Where private keys rest by default, or as it was set, fit or not: it is shown, not judged."""
    try:
        return vault_in(values)
    except SettingsError:
        return str(values.vault)


def _wrapping(values: Settings) -> list[str]:
    """Where private keys rest, which setting wraps them, and which only open."""
    current, others = wraps(values), [variable(name) for name in only_open(values)]
    lines = [f"Private keys rest in {_vault(values)}, wrapped by {variable(current) if current else 'nothing yet'}."]
    if others:
        lines.append(
            f"{' and '.join(others)} only open what was wrapped before; `tokensvc doctor` counts what is left."
        )
    return lines


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ",".join(value) or "-" if isinstance(value, tuple) else str(value)
