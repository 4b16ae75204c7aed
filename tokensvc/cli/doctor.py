"""`tokensvc doctor`: checks the configuration and everything it depends on, and prints a fix for each problem."""

from __future__ import annotations

import os
from collections.abc import Iterator

import typer

from tokensvc.cli.checks.finding import Finding, try_check
from tokensvc.cli.checks.keys import check_keys
from tokensvc.cli.checks.rows import check_rows
from tokensvc.cli.checks.vault import check_vault
from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, print_result
from tokensvc.cli.policy_values import policy_values
from tokensvc.container.store import open_configured_store
from tokensvc.container.vault import required_kek_settings
from tokensvc.deployment.record import Deployment
from tokensvc.errors import FieldError, SettingsError
from tokensvc.settings import PREFIX, Settings, read_settings, variable_name
from tokensvc.storage.store import Store

SET_CONTROL_PLANE = "export TOKENSVC_CONTROL_PLANE=aws   (or local)"
RUN_AGAIN = "tokensvc doctor   (again, after fixing what the message names)"


@examples(
    ("Check everything, and print a fix for each problem", "tokensvc doctor"),
    ("The findings for a script", "tokensvc doctor --json"),
)
def doctor(as_json: AsJson = False) -> None:
    """Check settings, store, vault, IVS and callers, and print a fix for every problem. Changes nothing.

    Exits with 1 if a check failed.
    """
    findings = list(_run_checks())
    data = {
        "ok": all(f.ok for f in findings),
        "findings": [
            {"ok": f.ok, "check": f.check, "detail": f.detail, "fix": None if f.ok else f.fix or None} for f in findings
        ],
    }
    lines = []
    for f in findings:
        lines.append(f"{'ok  ' if f.ok else 'FAIL'}  {f.check}: {f.detail}")
        if f.fix and not f.ok:
            lines.append(f"      fix: {f.fix}")
    print_result(data, as_json, *lines)
    if not data["ok"]:
        raise typer.Exit(1)


def _run_checks() -> Iterator[Finding]:
    from tokensvc.jose.signing.choice import choose_signer  # loads every signer

    try:
        settings = read_settings(os.environ)
    except SettingsError as failure:
        yield from (Finding(False, e.field, e.message, _fix_setting(e)) for e in failure.errors)
        return
    chosen, finding = try_check("signer", lambda: choose_signer(settings.signer), "unset TOKENSVC_SIGNER")
    yield finding if chosen is None else Finding(True, "signer", chosen.describe())
    if settings.database_url is None or settings.control_plane is not None:
        yield _check_setting(settings, "control_plane", SET_CONTROL_PLANE)
    yield _check_setting(
        settings, "database_url", "export TOKENSVC_DATABASE_URL=postgresql://…   (or sqlite:////path.db)"
    )
    if settings.database_url is None:
        yield from _check_kek_settings(settings, None)
        return
    store, finding = try_check("store", lambda: open_configured_store(settings), RUN_AGAIN)
    if store is None:
        if settings.control_plane is None:
            yield _check_setting(settings, "control_plane", SET_CONTROL_PLANE)
        yield finding
        yield from _check_kek_settings(settings, None)
        return
    try:
        yield from _check_kek_settings(settings, store)
        yield from _check_store(settings, store)
    finally:
        store.close()


def _check_store(settings: Settings, store: Store) -> Iterator[Finding]:
    deployment, finding = try_check("store", store.deployment.read, RUN_AGAIN)
    if deployment is None:
        yield finding
        return
    account = "not yet linked to an AWS account"
    if deployment.control_plane:
        account = f"keys in {deployment.control_plane}, account {deployment.account or 'not known yet'}"
    if deployment.damage:
        fix = "TOKENSVC_MAX_TTL_SECONDS=3600 tokensvc db upgrade   (or the value it had before)"
        yield Finding(False, "max_ttl_seconds", f"{deployment.damage}; no token is issued", fix)
    detail = f"reachable; deployment {deployment.id}; {account}; maximum token lifetime {deployment.max_ttl_seconds} s"
    yield Finding(True, "store", detail)
    fits = deployment.control_plane is None or settings.control_plane in (None, deployment.control_plane)
    if settings.control_plane is None:
        bound = deployment.control_plane
        fix = f"export TOKENSVC_CONTROL_PLANE={bound}   (where this store's keys are)" if bound else SET_CONTROL_PLANE
        yield _check_setting(settings, "control_plane", fix)
    if not fits:
        fix = f"export TOKENSVC_CONTROL_PLANE={deployment.control_plane}   (or use another store)"
        detail = f"is {settings.control_plane}, but the keys of this store are in {deployment.control_plane}"
        yield Finding(False, "TOKENSVC_CONTROL_PLANE", detail, fix)
    yield from _check_policy_settings(settings, deployment)
    findings = [*check_vault(settings, store), *check_keys(settings, store)]
    yield from (finding for finding in findings if not finding.needs_ivs)
    # A problem found in IVS may be what blocks the fixes that call IVS, so those come after it.
    if fits and settings.control_plane is not None:  # otherwise this would call another IVS, or none
        from tokensvc.cli.checks.ivs import check_ivs  # loads boto3

        yield from check_ivs(settings, store)
    yield from (finding for finding in findings if finding.needs_ivs)
    yield from check_rows(store)
    callers = [r for r in store.callers.list() if r.disabled_at is None and not r.damage]
    disabled = [r.name for r in store.callers.list() if r.disabled_at is not None and not r.damage]
    fix = "tokensvc callers add NAME --all-channels"
    if disabled:
        fix = f"tokensvc callers enable {disabled[0]}   (or {fix})"
    yield Finding(bool(callers), "callers", f"{len(callers)} enabled", fix)


def _check_policy_settings(settings: Settings, deployment: Deployment) -> Iterator[Finding]:
    """Deployment-wide settings that differ from the stored values."""
    for name, set_here, stored in policy_values(settings, deployment):
        if set_here is not None and set_here != stored and not (name == "max_ttl_seconds" and deployment.damage):
            detail = f"is {set_here:g} here, but the stored value {stored:g} applies"
            fix = f"tokensvc db upgrade   (or unset {variable_name(name)})"
            yield Finding(False, variable_name(name), detail, fix)


def _check_kek_settings(settings: Settings, store: Store | None) -> Iterator[Finding]:
    """Whether a key-encryption key is set. A new passphrase cannot decrypt what another one has encrypted."""
    known, _ = try_check("store", store.kek_registry.list, RUN_AGAIN) if store is not None else ([], None)
    for name in required_kek_settings(settings):
        fix = "(umask 077; openssl rand -hex 32 > FILE); export TOKENSVC_PASSPHRASE_FILE=FILE"
        if store is None:
            fix = f"{fix}   (for a new deployment; otherwise use a file with the deployment's passphrase)"
        if known:
            fix = "export TOKENSVC_PASSPHRASE_FILE=FILE   (with the passphrase that encrypts this store's secrets)"
            if all(wrapping.check_value is None for wrapping in known):
                fix = f"export TOKENSVC_KMS_KEY_ARN={known[-1].name.removeprefix('kms:')}"
        yield _check_setting(settings, name, fix)


def _fix_setting(error: FieldError) -> str:
    """The fix for an invalid setting."""
    examples = {
        "TOKENSVC_CONTROL_PLANE": SET_CONTROL_PLANE,
        "TOKENSVC_DATABASE_URL": "export TOKENSVC_DATABASE_URL=URL   (postgresql://… or sqlite:////path.db)",
        "TOKENSVC_PASSPHRASE": "(umask 077; openssl rand -hex 32 > FILE); unset TOKENSVC_PASSPHRASE; "
        "export TOKENSVC_PASSPHRASE_FILE=FILE   (for a new deployment; otherwise use a file with the "
        "deployment's passphrase)",
    }
    if not error.field.startswith(PREFIX):
        return f"{RUN_AGAIN[:-1]}; it is about the settings file)"
    is_file = error.field.removesuffix("_FILE") in map(variable_name, Settings.model_fields) and error.field.endswith(
        "_FILE"
    )
    if is_file and not error.excluded_by:
        return f"export {error.field}=FILE   (readable by this user and nobody else: chmod 600 FILE)"
    return examples.get(error.field, f"unset {error.field}   (or set a valid value)")


def _check_setting(settings: Settings, name: str, fix: str) -> Finding:
    value = getattr(settings, name)
    return Finding(value is not None, f"TOKENSVC_{name.upper()}", "is not set" if value is None else "is set", fix)
