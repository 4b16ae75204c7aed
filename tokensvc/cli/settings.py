"""`tokensvc settings`."""

from __future__ import annotations

import os

from tokensvc.cli.output import AsJson, print_result, format_table
from tokensvc.cli.policy_values import NAMES as POLICY
from tokensvc.cli.policy_values import policy_values
from tokensvc.cli.remedies import failure_text
from tokensvc.container.service import open_configured_store
from tokensvc.container.vault import decrypt_only_settings, vault_location, active_kek_setting
from tokensvc.deployment.record import Deployment
from tokensvc.errors import SettingsError, TokensvcError
from tokensvc.jose.signing.choice import choose_signer
from tokensvc.settings import Settings, read_settings, sources, variable_name
from tokensvc.storage.database_urls import masked

FROM_STORE = "store"
STORE_NOT_READ = "store (not read)"


def settings(as_json: AsJson = False) -> None:
    """Show each setting's effective value and where it comes from. Secrets are starred, of a URL its password alone.

    Limits of the whole deployment are shown as the store holds them, where it can be read.
    """
    values = read_settings(os.environ)
    origins = sources(os.environ)
    effective = {name: getattr(values, name) for name in origins} | {"vault": _vault(values)}
    notes: list[str] = []
    problems: dict[str, str] = {}
    if values.database_url is not None:
        effective["database_url"] = masked(values.database_url.get_secret_value())
        try:
            deployment = _read_deployment(values)
        except TokensvcError as failure:
            problems = dict.fromkeys(POLICY, failure_text(failure))
            notes.append(f"The store could not be read, and its limits are what counts: {failure_text(failure)}")
            origins |= dict.fromkeys(POLICY, STORE_NOT_READ)
            effective |= dict.fromkeys(POLICY)
        else:
            for policy in policy_values(values, deployment):
                if policy.set_here is not None and policy.set_here != policy.stored:
                    here = f"{origins[policy.name]} is {policy.set_here:g} here"
                    problems[policy.name] = f"{here}, and the store's value counts; `tokensvc db upgrade` changes that"
                    notes.append(f"{problems[policy.name]}.")
                effective[policy.name], origins[policy.name] = policy.stored, FROM_STORE
            if deployment.damage:
                effective["max_ttl_seconds"] = None
                problems["max_ttl_seconds"] = deployment.damage
                notes.append(f"{deployment.damage}; see tokensvc doctor.")
    shown = {name: _json_value(value) for name, value in effective.items()}
    data = {
        variable_name(name): {"value": shown[name], "source": origins[name]}
        | ({"problem": problems[name]} if name in problems else {})
        for name in origins
    }
    signer = _signer(values)
    data["TOKENSVC_SIGNER"] |= {"signsWith": signer}
    notes.append(f"Tokens are signed with {signer}.")
    rows = [(variable_name(name), _text(shown[name]), origins[name]) for name in origins]
    print_result(data, as_json, *format_table(("SETTING", "VALUE", "SOURCE"), rows), "", *notes, *_vault_lines(values))


def _read_deployment(values: Settings) -> Deployment:
    """What the store holds, soon: it is not waited for as long as by what needs it. Raises StoreError."""
    store = open_configured_store(values.model_copy(update={"store_timeout_seconds": min(values.store_timeout_seconds, 1.0)}))
    try:
        return store.deployment.read()
    finally:
        store.close()


def _signer(values: Settings) -> str:
    """What a worker here would sign with, and why it is not a faster signer; or why none would."""
    try:
        return choose_signer(values.signer).in_words()
    except SettingsError as failure:
        return f"nothing: {failure_text(failure)}"


def _vault(values: Settings) -> str:
    """Where private keys rest by default, or as it was set, fit or not: it is shown, not judged."""
    try:
        return vault_location(values)
    except SettingsError:
        return str(values.vault)


def _vault_lines(values: Settings) -> list[str]:
    """Where private keys rest, which setting wraps them, and which only open."""
    current, others = active_kek_setting(values), [variable_name(name) for name in decrypt_only_settings(values)]
    lines = [f"Private keys rest in {_vault(values)}, wrapped by {variable_name(current) if current else 'nothing yet'}."]
    if others:
        lines.append(
            f"{' and '.join(others)} only open what was wrapped before; `tokensvc doctor` counts what is left."
        )
    return lines


def _json_value(value: object) -> bool | int | float | str | list[str] | None:
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
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "-" if value is None else str(value)
