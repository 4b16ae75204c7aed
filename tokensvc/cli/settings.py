"""`tokensvc settings`."""

from __future__ import annotations

import os

from tokensvc.cli.screen import AsJson, result, table
from tokensvc.settings import Settings, read_settings, sources, variable
from tokensvc.vaulting import vault_in


def settings(as_json: AsJson = False) -> None:
    """Show each setting's effective value and where it comes from. Secrets are starred."""
    values = read_settings(os.environ)
    origins = sources(os.environ)
    shown = {name: _shown(getattr(values, name)) for name in origins} | {"vault": vault_in(values)}
    data = {variable(name): {"value": shown[name], "source": origins[name]} for name in origins}
    rows = [(variable(name), shown[name], origins[name]) for name in origins]
    lines = [table(("SETTING", "VALUE", "SOURCE"), rows), "", *_wrapping(values)]
    result(data, as_json, "\n".join(lines))


def _wrapping(values: Settings) -> list[str]:
    """Which of the wrapping keys wraps, and which only open."""
    given = [
        variable(name)
        for name in ("kms_key_arn", "passphrase", "previous_kms_key_arn", "previous_passphrase")
        if getattr(values, name)
    ]
    wraps = given[0] if given and not given[0].startswith(variable("previous")) else "nothing"
    opens = [name for name in given if name != wraps]
    lines = [f"Private keys rest in {vault_in(values)}; new secrets are wrapped by {wraps}."]
    if opens:
        lines.append(f"{' and '.join(opens)} only open what they wrapped; `tokensvc doctor` counts what is left there.")
    return lines


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ",".join(value) or "-" if isinstance(value, tuple) else str(value)
