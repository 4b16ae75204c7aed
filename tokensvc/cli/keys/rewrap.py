"""`tokensvc keys rewrap`: secrets moved to another wrapping key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokensvc.cli.keys.context import open_store
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, print_progress, print_result
from tokensvc.container.vault import FILES, IN_STORE, SHARED_FILES, make_rewrap_context, open_vault_at, make_cipher, make_read_only_cipher
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.keys import rewrap as moving
from tokensvc.storage.store import Store

SourceVault = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="VAULT",
        help="Another vault, as TOKENSVC_VAULT names one: what it has of our private keys moves into ours first.",
    ),
]


def rewrap(
    other: SourceVault = None,
    dry_run: DryRun = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Move every private key and subject key to the current passphrase or KMS key, until none is under another one.

    Workers go on meanwhile, if their settings give both the current key and the one before.
    """
    if other is not None and other != IN_STORE and not _is_directory(other):
        raise InvalidRequest([FieldError("--from", "must be `store`, or `keys:` and a directory that there is")])
    with open_store() as (settings, store):
        cipher = (make_read_only_cipher if dry_run else make_cipher)(settings, store)
        context = make_rewrap_context(settings, store, cipher, print_progress)
        moved_in = _import_missing(store, context, other, dry_run) if other else []
        moved = moving.pending_secrets(context) if dry_run else moving.rewrap(context)
    current = context.cipher.current
    data = {
        "dryRun": dry_run,
        "current": current,
        "movedIn": moved_in,
        "secrets": [{"secret": secret.name, "wrappedBy": secret.kek_name} for secret in moved],
    }
    lines = [f"private key {key_id}: {'to be ' if dry_run else ''}moved in from {other}" for key_id in moved_in]
    lines += [f"{secret.name}: under {secret.kek_name}" for secret in moved] if dry_run else []
    if dry_run and (moved or moved_in):
        lines.append(f"{len(moved)} to be moved to {current}; nothing was changed.")
    else:
        was = f"{len(moved)} moved" if moved else "Nothing to do"
        lines.append(f"{was}: everything is under {current}. The previous one may be taken out of the settings.")
    print_result(data, as_json, *lines)
    if detailed_exit_code and not moved and not moved_in:
        raise typer.Exit(NOTHING_TO_DO)


def _is_directory(vault: str) -> bool:
    return vault.startswith((FILES, SHARED_FILES)) and Path(vault.partition(":")[2]).is_dir()


def _import_missing(store: Store, context: moving.RewrapContext, other: str, dry_run: bool) -> list[str]:
    move = moving.missing_keys if dry_run else moving.import_missing
    return move(context, open_vault_at(other, store, context.cipher), store.keys.list())
