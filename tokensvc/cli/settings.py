"""`tokensvc settings`."""

from __future__ import annotations

import os

from tokensvc.cli.screen import AsJson, result, table
from tokensvc.errors import SettingsError
from tokensvc.settings import Settings, read_settings, sources, variable
from tokensvc.vaulting import only_open, vault_in, wraps


def settings(as_json: AsJson = False) -> None:
    """Show each setting's effective value and where it comes from. Secrets are starred."""
    values = read_settings(os.environ)
    origins = sources(os.environ)
    shown = {name: _typed(getattr(values, name)) for name in origins} | {"vault": _vault(values)}
    data = {variable(name): {"value": shown[name], "source": origins[name]} for name in origins}
    rows = [(variable(name), _text(shown[name]), origins[name]) for name in origins]
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


def _typed(value: object) -> bool | int | float | str | list[str] | None:
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)  # a secret is starred


def _text(value: object) -> str:
    """A value as it is written in the environment; `-` where there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value) or "-"
    return "-" if value is None else str(value)
