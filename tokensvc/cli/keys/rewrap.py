"""`tokensvc keys rewrap`: re-encrypts stored secrets with the current wrapping key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokensvc.audit.requester import Requester
from tokensvc.cli.help import examples
from tokensvc.cli.keys.context import open_store
from tokensvc.cli.operator import operator_actor
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, count_of, print_progress, print_result
from tokensvc.container.vault import (
    FILES,
    IN_STORE,
    SHARED_FILES,
    make_cipher,
    make_read_only_cipher,
    make_rewrap_context,
    open_vault_at,
)
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.keys import rewrap as rewrap_service
from tokensvc.storage.store import Store

SourceVault = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="VAULT",
        help="First copy this deployment's private keys from another vault; same syntax as TOKENSVC_VAULT.",
    ),
]


@examples(
    ("What is still encrypted with another passphrase or KMS key?", "tokensvc keys rewrap --dry-run"),
    ("Re-encrypt it", "tokensvc keys rewrap"),
    (
        "Move from a directory of key files into the store",
        "TOKENSVC_VAULT=store tokensvc keys rewrap --from file:keys",
    ),
)
def rewrap(
    source: SourceVault = None,
    dry_run: DryRun = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Re-encrypt every private key and subject key with the current passphrase or KMS key.

    Workers keep running if their settings contain both the current and the previous wrapping key.
    """
    if source is not None and source != IN_STORE and not _is_directory(source):
        raise InvalidRequest([FieldError("--from", "must be `store`, or `file:` followed by an existing directory")])
    with open_store() as (settings, store):
        cipher = (make_read_only_cipher if dry_run else make_cipher)(settings, store)
        context = make_rewrap_context(settings, store, cipher, print_progress, Requester(operator_actor()))
        copied = _import_missing(store, context, source, dry_run) if source else []
        rewrapped = rewrap_service.pending_secrets(context) if dry_run else rewrap_service.rewrap(context)
    current = context.cipher.current
    data = {
        "dryRun": dry_run,
        "current": current,
        "copied": copied,
        "secrets": [{"secret": secret.name, "wrappedBy": secret.kek_name} for secret in rewrapped],
    }
    lines = [f"private key {key_id}: {'would be ' if dry_run else ''}copied from {source}" for key_id in copied]
    lines += [f"{secret.name}: encrypted with {secret.kek_name}" for secret in rewrapped] if dry_run else []
    if dry_run and (rewrapped or copied):
        lines.append(f"{count_of(len(rewrapped), 'secret')} would be re-encrypted with {current}. Nothing was changed.")
    else:
        done = f"{count_of(len(rewrapped), 'secret')} re-encrypted" if rewrapped else "Nothing to do"
        lines.append(
            f"{done}: all secrets are encrypted with {current}. Any other key can be removed from the settings."
        )
    print_result(data, as_json, *lines)
    if detailed_exit_code and not rewrapped and not copied:
        raise typer.Exit(NOTHING_TO_DO)


def _is_directory(vault: str) -> bool:
    return vault.startswith((FILES, SHARED_FILES)) and Path(vault.partition(":")[2]).is_dir()


def _import_missing(store: Store, context: rewrap_service.RewrapContext, source: str, dry_run: bool) -> list[str]:
    """Copy the private keys that our vault lacks; returns their ids. A dry run only lists them."""
    function = rewrap_service.missing_keys if dry_run else rewrap_service.import_missing
    return function(context, open_vault_at(source, store, context.cipher), store.keys.list())
