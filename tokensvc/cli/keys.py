"""`tokensvc keys …`: the signing key pairs."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, Any

import typer

from tokensvc.cli.screen import AsJson, instant, progress, result, table
from tokensvc.core import keypair
from tokensvc.core.lifecycle import KeyInPlace, KeyRecord, find
from tokensvc.rotate import wishes
from tokensvc.settings import read_settings
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
