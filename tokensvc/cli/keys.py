"""`tokensvc keys …`: the signing key pairs."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, Any

import typer

from tokensvc import rewrap as moving
from tokensvc.cli.screen import (
    NOTHING_TO_DO,
    AsJson,
    DetailedExitCode,
    DryRun,
    instant,
    progress,
    result,
    table,
)
from tokensvc.core import keypair
from tokensvc.core.lifecycle import KeyInPlace, KeyRecord, find
from tokensvc.rotate import wishes
from tokensvc.settings import read_settings
from tokensvc.vaulting import rewrapping_of, wrapper_of, wrapper_to_look
from tokensvc.wiring import key_world, regions_of, store_of

app = typer.Typer(help="The signing key pairs.", no_args_is_help=True)


@app.command()
def generate(as_json: AsJson = False) -> None:
    """Make a P-384 key pair, keep the private half encrypted, import the public half into IVS and sign with it."""
    settings = read_settings(os.environ)
    record = wishes.generate(key_world(settings, progress), regions_of(settings))
    result(_shown(record), as_json, f"Key {record.id} signs; fingerprint {record.fingerprint}.")


@app.command()
def rotate(as_json: AsJson = False) -> None:
    """Put a new key to work; IVS keeps admitting the tokens of the one before it until they have ended."""
    settings = read_settings(os.environ)
    world = key_world(settings, progress)
    wish = wishes.rotate(world, regions_of(settings), "the command line")
    signing = wishes.fulfilled(world.keys.list(), wish)
    words = "\n".join(f"Key {key_id} signs now in {region}." for region, key_id in signing.items())
    result({"id": wish.id, "regions": signing}, as_json, words)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the key pairs and their state in each region."""
    store = store_of(read_settings(os.environ))
    try:
        records = store.keys.list()
    finally:
        store.close()
    rows = [
        (r.id, there.place.region, there.state.value, str(instant(_since(there))), there.arn)
        for r in records
        for there in r.places
    ]
    rows += [(r.id, "-", "made", str(instant(r.created_at)), "not imported yet") for r in records if not r.places]
    result({"keys": [_shown(r) for r in records]}, as_json, table(("KEY", "REGION", "STATE", "SINCE", "ARN"), rows))


@app.command()
def public(key_id: Annotated[str, typer.Argument(help="The key, as `tokensvc keys list` shows it.")]) -> None:
    """Print a key's public half as PEM."""
    store = store_of(read_settings(os.environ))
    try:
        record = find(store.keys.list(), key_id)
    finally:
        store.close()
    typer.echo(keypair.public_pem(keypair.read_public_der(record.public_der)), nl=False)


@app.command()
def rewrap(dry_run: DryRun = False, detailed_exit_code: DetailedExitCode = False, as_json: AsJson = False) -> None:
    """Move every private key and subject key to the current passphrase or KMS key, until none is under another one.

    Workers go on meanwhile, if their settings give both the current key and the one before.
    """
    settings = read_settings(os.environ)
    store = store_of(settings)
    try:
        wrapper = (wrapper_to_look if dry_run else wrapper_of)(settings, store)
        world = rewrapping_of(settings, store, wrapper, progress)
        moved = moving.left(world) if dry_run else moving.rewrap(world)
    finally:
        store.close()
    current = world.wrapper.current
    data = {
        "dryRun": dry_run,
        "current": current,
        "secrets": [{"secret": secret.what, "wrappedBy": secret.wrapped_by} for secret in moved],
    }
    lines = [f"{secret.what}: under {secret.wrapped_by}" for secret in moved] if dry_run else []
    if dry_run and moved:
        lines.append(f"{len(moved)} to be moved to {current}; nothing was changed.")
    else:
        was = f"{len(moved)} moved" if moved else "Nothing to do"
        lines.append(f"{was}: everything is under {current}. The previous one may be taken out of the settings.")
    result(data, as_json, "\n".join(lines))
    if detailed_exit_code and not moved:
        raise typer.Exit(NOTHING_TO_DO)


def _since(there: KeyInPlace) -> datetime:
    """When it came into the state that it is in."""
    return there.retired_at or there.retiring_at or there.activated_at or there.imported_at


def _shown(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "fingerprint": record.fingerprint,
        "createdAt": instant(record.created_at),
        "places": [
            {
                "account": there.place.account,
                "region": there.place.region,
                "state": there.state.value,
                "arn": there.arn,
                "importedAt": instant(there.imported_at),
                "activatedAt": instant(there.activated_at),
                "retiringAt": instant(there.retiring_at),
                "retiredAt": instant(there.retired_at),
            }
            for there in record.places
        ],
    }
