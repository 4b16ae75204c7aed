"""`tokensvc settings`."""

from __future__ import annotations

import os

from tokensvc.cli.screen import AsJson, result, table
from tokensvc.settings import read_settings, sources, variable


def settings(as_json: AsJson = False) -> None:
    """Show each setting's effective value and where it comes from. Secrets are starred."""
    values = read_settings(os.environ)
    origins = sources(os.environ)
    shown = {name: _shown(getattr(values, name)) for name in origins}
    data = {variable(name): {"value": shown[name], "source": origins[name]} for name in origins}
    rows = [(variable(name), shown[name], origins[name]) for name in origins]
    result(data, as_json, table(("SETTING", "VALUE", "SOURCE"), rows))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ",".join(value) or "-" if isinstance(value, tuple) else str(value)
