"""`tokensvc doctor`: what is configured, what answers, what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import typer

from tokensvc import wiring
from tokensvc.adapters.sql.store import Store
from tokensvc.cli.findings import Finding, attempt
from tokensvc.cli.ivs_findings import examine_ivs
from tokensvc.cli.key_findings import RESUME, examine_keys
from tokensvc.cli.row_findings import examine_rows
from tokensvc.cli.screen import AsJson, result
from tokensvc.cli.vault_findings import examine_vault
from tokensvc.errors import SettingsError
from tokensvc.settings import Settings, read_settings
from tokensvc.vaulting import wrapping_wanted


def doctor(as_json: AsJson = False) -> None:
    """Look at settings, store, vault, IVS and callers; say what is missing and what mends it. Changes nothing."""
    findings = list(_examine())
    data = {
        "well": all(f.well for f in findings),
        "findings": [
            {"well": f.well, "what": f.what, "found": f.found, "mend": None if f.well else f.mend or None}
            for f in findings
        ],
    }
    lines = []
    for f in findings:
        lines.append(f"{'ok  ' if f.well else 'BAD '} {f.what}: {f.found}")
        if f.mend and not f.well:
            lines.append(f"       mend it with: {f.mend}")
    result(data, as_json, *lines)
    if not data["well"]:
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    try:
        settings = read_settings(os.environ)
    except SettingsError as failure:
        yield from (Finding(False, e.field, e.message, "tokensvc settings") for e in failure.errors)
        return
    yield _setting(settings, "control_plane", "export TOKENSVC_CONTROL_PLANE=aws   (or local)")
    yield _setting(settings, "database_url", "export TOKENSVC_DATABASE_URL=postgresql://…   (or sqlite:////path.db)")
    for name in wrapping_wanted(settings):
        yield _setting(settings, name, "(umask 077; openssl rand -hex 32 > FILE); export TOKENSVC_PASSPHRASE_FILE=FILE")
    if settings.database_url is None:
        return
    store, finding = attempt("store", lambda: wiring.store_of(settings), "tokensvc db upgrade")
    if store is None:
        yield finding
        return
    try:
        yield from _examine_store(settings, store)
    finally:
        store.close()


def _examine_store(settings: Settings, store: Store) -> Iterator[Finding]:
    deployment, finding = attempt("store", store.deployment.read, "tokensvc db upgrade")
    if deployment is None:
        yield finding
        return
    where = f"{deployment.control_plane or 'not bound yet'}, account {deployment.account or 'not known yet'}"
    if deployment.damage:
        remedy = "TOKENSVC_MAX_TTL_SECONDS=3600 tokensvc db upgrade   (or what it was)"
        yield Finding(False, "max_ttl_seconds", f"{deployment.damage}; no token is issued", remedy)
    fits = deployment.control_plane in (None, settings.control_plane)
    yield Finding(
        fits,
        "store",
        f"answers; deployment {deployment.id}; keys in: {where}; tokens live {deployment.max_ttl_seconds} s at most",
        f"export TOKENSVC_CONTROL_PLANE={deployment.control_plane}, or use another store",
    )
    if settings.max_ttl_seconds not in (None, deployment.max_ttl_seconds):
        yield Finding(
            False,
            "TOKENSVC_MAX_TTL_SECONDS",
            "differs from the store's, which is the one that counts",
            "tokensvc db upgrade",
        )
    found = [*examine_vault(settings, store), *examine_keys(settings, store)]
    yield from (finding for finding in found if finding.mend != RESUME)
    # What IVS says must be fixed first may be what keeps the rest from going on.
    yield from examine_ivs(settings, store)
    yield from (finding for finding in found if finding.mend == RESUME)
    yield from examine_rows(store)
    callers = [r for r in store.callers.list() if r.disabled_at is None and not r.damage]
    yield Finding(
        bool(callers), "callers", f"{len(callers)} may ask for tokens", "tokensvc callers add NAME --all-channels"
    )


def _setting(settings: Settings, name: str, mend: str) -> Finding:
    value = getattr(settings, name)
    return Finding(value is not None, f"TOKENSVC_{name.upper()}", "is missing" if value is None else "is set", mend)
