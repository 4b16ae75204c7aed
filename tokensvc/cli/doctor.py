"""`tokensvc doctor`: what is configured, what answers, what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import typer

from tokensvc import wiring
from tokensvc.adapters.sql.store import Store
from tokensvc.cli.findings import Finding, attempt
from tokensvc.cli.screen import AsJson, result
from tokensvc.cli.vault_findings import examine_vault
from tokensvc.core.lifecycle import KeyState
from tokensvc.core.rotation import KEY_PAIRS_MAX
from tokensvc.errors import SettingsError
from tokensvc.rotate.survey import DEPLOYMENT_TAG
from tokensvc.settings import Settings, read_settings
from tokensvc.vaulting import wrapping_wanted


def doctor(as_json: AsJson = False) -> None:
    """Look at settings, store, vault, IVS and callers; say what is missing and what mends it. Changes nothing."""
    findings = list(_examine())
    data = {
        "well": all(f.well for f in findings),
        "findings": [{"well": f.well, "what": f.what, "found": f.found, "mend": f.mend} for f in findings],
    }
    lines = []
    for f in findings:
        lines.append(f"{'ok  ' if f.well else 'BAD '} {f.what}: {f.found}")
        if f.mend and not f.well:
            lines.append(f"       mend it with: {f.mend}")
    result(data, as_json, "\n".join(lines))
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
        yield _setting(settings, name, "openssl rand -hex 32 > FILE; export TOKENSVC_PASSPHRASE_FILE=FILE")
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
    yield from examine_vault(settings, store)
    yield from _examine_ivs(settings, store, deployment.id)
    callers = [r for r in store.callers.list() if r.disabled_at is None]
    yield Finding(
        bool(callers), "callers", f"{len(callers)} may ask for tokens", "tokensvc callers add NAME --all-channels"
    )


def _examine_ivs(settings: Settings, store: Store, deployment_id: str) -> Iterator[Finding]:
    regions, finding = attempt("regions", lambda: wiring.regions_of(settings), "export AWS_REGION=us-east-1")
    if regions is None:
        yield finding
        return
    control_plane, finding = attempt("IVS", lambda: wiring.control_plane_of(settings), "see the message")
    if control_plane is None:
        yield finding
        return
    for region in regions:
        answer, finding = attempt(
            f"IVS in {region}",
            partial(control_plane.call, region, "ListPlaybackKeyPairs", {}),
            "see the message; credentials and endpoint are boto3's (AWS_PROFILE, AWS_ENDPOINT_URL_IVS, …)",
        )
        if answer is None:
            yield finding
            continue
        pairs = answer["keyPairs"]
        ours = [p for p in pairs if p.get("tags", {}).get(DEPLOYMENT_TAG) == deployment_id]
        found = f"answers; {len(pairs)} of {KEY_PAIRS_MAX} key slots used, {len(pairs) - len(ours)} of them not by us"
        yield Finding(True, f"IVS in {region}", found)
        active = [
            (r, t)
            for r in store.keys.list()
            for t in r.places
            if t.place.region == region and t.state is KeyState.ACTIVE
        ]
        if not active:
            yield Finding(
                False, f"key in {region}", "none is active, so no token can be signed", "tokensvc keys generate"
            )
        for record, there in active:
            held = any(p["arn"] == there.arn for p in ours)
            yield Finding(
                held,
                f"key in {region}",
                f"{record.id} signs" if held else f"{record.id} signs and IVS does not hold it: every token is refused",
                "tokensvc keys rotate",
            )


def _setting(settings: Settings, name: str, mend: str) -> Finding:
    value = getattr(settings, name)
    return Finding(value is not None, f"TOKENSVC_{name.upper()}", "is missing" if value is None else "is set", mend)
