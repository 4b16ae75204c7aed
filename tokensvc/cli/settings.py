"""`tokensvc settings`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, format_table, print_result, print_text
from tokensvc.cli.policy_values import POLICY_SETTINGS, policy_values
from tokensvc.cli.remedies import failure_text
from tokensvc.cli.settings_example import example_lines
from tokensvc.container.store import open_configured_store
from tokensvc.container.vault import active_kek_setting, decrypt_only_settings, vault_location
from tokensvc.deployment.record import Deployment
from tokensvc.errors import FieldError, InvalidRequest, SettingsError, TokensvcError
from tokensvc.settings import Settings, read_configuration, variable_name

Example = Annotated[
    bool, typer.Option("--example", help="Print a settings file that has every setting in comments, and exit.")
]
FROM_STORE = "store"
STORE_NOT_READ = "store (unavailable)"


@examples(
    ("Show the settings in effect, and where each comes from", "tokensvc settings"),
    ("Which settings are not at their default?", "tokensvc settings | grep -v default"),
    ("Start a settings file", "tokensvc settings --example > tokensvc.toml"),
    ("Show the settings with those of a file", "tokensvc settings --config tokensvc.toml"),
)
def settings(example: Example = False, as_json: AsJson = False) -> None:
    """Show the effective value and the source of every setting. Secrets are masked; in URLs, only the password is.

    A source is a variable of the environment, a line of the settings file, `store` or `default`. Deployment-wide limits
    are shown as stored, if the store can be read.
    """
    if example:
        if as_json:
            raise InvalidRequest([FieldError("--json", "must be left out", excluded_by="--example")])
        print_text(*example_lines())
        return
    configuration = read_configuration(os.environ)
    values = configuration.settings
    origins = {name: configuration.source(name) for name in Settings.model_fields}
    effective = {name: getattr(values, name) for name in origins} | {"vault": _vault(values)}
    notes: list[str] = []
    problems: dict[str, str] = {}
    effective |= _masked_urls(values)
    if values.database_url is not None:
        try:
            deployment = _read_deployment(values)
        except TokensvcError as failure:
            problems = dict.fromkeys(POLICY_SETTINGS, failure_text(failure))
            notes.append(f"The limits in force are unknown, because the store cannot be read: {failure_text(failure)}")
            origins |= dict.fromkeys(POLICY_SETTINGS, STORE_NOT_READ)
            effective |= dict.fromkeys(POLICY_SETTINGS)
        else:
            for policy in policy_values(values, deployment):
                if policy.set_here is not None and policy.set_here != policy.stored:
                    here = f"{origins[policy.name]} is set to {policy.set_here:g} here, but the stored value applies"
                    problems[policy.name] = f"{here}; run `tokensvc db upgrade` to store it"
                    notes.append(f"{problems[policy.name]}.")
                effective[policy.name], origins[policy.name] = policy.stored, FROM_STORE
            if deployment.damage:
                effective["max_ttl_seconds"] = None
                problems["max_ttl_seconds"] = deployment.damage
                notes.append(f"{deployment.damage}; run `tokensvc doctor`.")
    shown = {name: _json_value(value) for name, value in effective.items()}
    data = {
        variable_name(name): {"value": shown[name], "source": origins[name]}
        | ({"problem": problems[name]} if name in problems else {})
        for name in origins
    }
    signer = _signer(values)
    data["TOKENSVC_SIGNER"] |= {"effective": signer}
    notes.append(f"Signer in use: {signer}.")
    rows = [(variable_name(name), _text(shown[name]), origins[name]) for name in origins]
    print_result(data, as_json, *format_table(("SETTING", "VALUE", "SOURCE"), rows), "", *notes, *_vault_lines(values))


def _masked_urls(values: Settings) -> dict[str, str]:
    """The URLs that may have a password, without it."""
    urls = {name: url for name in ("database_url", "limiter_url") if (url := getattr(values, name)) is not None}
    if not urls:
        return {}
    from tokensvc.storage.database_urls import masked  # loads SQLAlchemy

    return {name: masked(url.get_secret_value()) for name, url in urls.items()}


def _read_deployment(values: Settings) -> Deployment:
    """The stored limits, with a shorter timeout than commands that depend on the store use. Raises StoreError."""
    store = open_configured_store(
        values.model_copy(update={"store_timeout_seconds": min(values.store_timeout_seconds, 1.0)})
    )
    try:
        return store.deployment.read()
    finally:
        store.close()


def _signer(values: Settings) -> str:
    """The signer that a worker would use here and why no faster one; or why no signer can be used."""
    from tokensvc.jose.signing.choice import choose_signer  # loads every signer

    try:
        return choose_signer(values.signer).describe()
    except SettingsError as failure:
        return f"none ({failure_text(failure)})"


def _vault(values: Settings) -> str:
    """The vault's location: the default, or the setting as it is, since an invalid one is shown too."""
    try:
        return vault_location(values)
    except SettingsError:
        return str(values.vault)


def _vault_lines(values: Settings) -> list[str]:
    """Where private keys are stored, which setting encrypts them, and which are used for decryption only."""
    current, others = active_kek_setting(values), [variable_name(name) for name in decrypt_only_settings(values)]
    stored = f"Private keys are stored in {_vault(values)}"
    if current is None:
        lines = [f"{stored}; no passphrase or KMS key to encrypt them with is set."]
    else:
        lines = [f"{stored}, encrypted with {variable_name(current)}."]
    if others:
        lines.append(
            f"For decryption only: {', '.join(others)}; `tokensvc doctor` counts the secrets that still need them."
        )
    return lines


def _json_value(value: object) -> bool | int | float | str | list[str] | None:
    """A value as it is shown in JSON."""
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)  # masks a secret


def _text(value: object) -> str:
    """A value as it is written in the environment; `-` if there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value) or "-"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "-" if value is None else str(value)
