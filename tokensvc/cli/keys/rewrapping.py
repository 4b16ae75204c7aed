"""`tokensvc keys rewrap`: secrets moved to another wrapping key."""

from __future__ import annotations

import typer

from tokensvc import rewrap as moving
from tokensvc.cli.keys.opening import to_read
from tokensvc.cli.screen import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, progress, result
from tokensvc.vaulting import rewrapping_of, wrapper_of, wrapper_to_look


def rewrap(dry_run: DryRun = False, detailed_exit_code: DetailedExitCode = False, as_json: AsJson = False) -> None:
    """Move every private key and subject key to the current passphrase or KMS key, until none is under another one.

    Workers go on meanwhile, if their settings give both the current key and the one before.
    """
    with to_read() as (settings, store):
        wrapper = (wrapper_to_look if dry_run else wrapper_of)(settings, store)
        world = rewrapping_of(settings, store, wrapper, progress)
        moved = moving.left(world) if dry_run else moving.rewrap(world)
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
