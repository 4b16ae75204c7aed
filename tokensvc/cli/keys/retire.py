"""`tokensvc keys retire`, `delete`, `compromise`: takes keys out of use.

Invariants
- Each command asks for confirmation on a terminal and requires `--yes` elsewhere; it first says what it will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.cli.help import KEY_ID, examples
from tokensvc.cli.keys.context import (
    KeyId,
    KeysSession,
    RegionsOption,
    list_stale_workers,
    open_for_write,
    open_read_only,
    reference_time,
    require_configured_regions,
)
from tokensvc.cli.keys.rotate import REQUESTED_BY, WaitOption, print_rotation
from tokensvc.cli.output import (
    NOTHING_TO_DO,
    AsJson,
    DetailedExitCode,
    DryRun,
    Yes,
    confirm,
    count_of,
    instant_or_none,
    print_progress,
    print_result,
)
from tokensvc.keys import commands, retirement
from tokensvc.keys.lifecycle import KeyRecord, require_key
from tokensvc.keys.stale_workers import StaleWorker
from tokensvc.keys.views import CompromiseImpactView, compromise_impact_view, key_view, stale_worker_view

SYNC_TIMEOUT_SECONDS = 10
"""How long a compromise waits for the workers to confirm; each writes a heartbeat every five seconds."""


@examples(
    ("Replace a key by the next one, and wait until that is active", f"tokensvc keys retire {KEY_ID} --yes"),
)
def retire(
    key_id: KeyId,
    region: RegionsOption = None,
    wait: WaitOption = None,
    yes: Yes = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Stop using a key. Where it is active, another key replaces it; where it is only prepared, its pair is deleted."""
    with open_for_write() as opened:
        regions = require_configured_regions(opened.regions, region)
        before = require_key(opened.context.keys.list(), key_id)
        confirm(f"Stop signing with key {key_id} in {', '.join(regions)}?", yes)
        rotation = retirement.retire(opened.context, key_id, regions, REQUESTED_BY)
        if rotation is None:
            changed = _print_change(opened, before, as_json, f"Key {key_id} is no longer prepared in any region.")
        else:
            changed = True
            if wait is not False:
                commands.complete_rotations(opened.context, list(rotation.previous_key_ids), wait_for_drain=bool(wait))
            print_rotation(opened, rotation, as_json)
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


@examples(
    ("Delete a retired key's remaining key pairs", f"tokensvc keys delete {KEY_ID} --yes"),
    ("Delete one key pair of this deployment that the store does not know", 'tokensvc keys delete "$KEY_PAIR" --yes'),
)
def delete(
    target: Annotated[str, typer.Argument(metavar="KEY|ARN", help="Key id, or the ARN of one key pair.")],
    region: RegionsOption = None,
    yes: Yes = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Delete a key's pairs from IVS.

    Rejected while the key is active or its tokens may still be valid, and for key pairs of other applications.
    """
    with open_for_write() as opened:
        if target.startswith("arn:"):
            confirm(f"Delete {target} from IVS?", yes)
            retirement.delete_pair(opened.context, target)
            print_result({"deleted": target}, as_json, f"{target} deleted.")
            return
        before = require_key(opened.context.keys.list(), target)
        imported = [p.account_region.region for p in before.placements if p.is_imported]
        regions = require_configured_regions(imported, region) if imported else ()
        where = f"IVS in {', '.join(regions)}" if regions else "the vault"
        confirm(f"Delete key {target} from {where}?", yes)
        commands.delete(opened.context, target, regions)
        changed = _print_change(opened, before, as_json, f"Key {target} deleted from {where}.")
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


@examples(
    ("Which tokens become invalid, and is there an outage?", f"tokensvc keys compromise {KEY_ID} --dry-run"),
    ("Stop using the key, and delete its key pairs", f"tokensvc keys compromise {KEY_ID} --yes"),
    ("Also replace the standby", f"tokensvc keys compromise {KEY_ID} --include-standby --yes"),
)
def compromise(
    key_id: KeyId,
    include_standby: Annotated[
        bool,
        typer.Option(
            "--include-standby", help="Also compromise keys that have never been active, and create new ones."
        ),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop using a compromised key for good and delete its pairs now: all tokens signed by it become invalid.

    Exits with 1 if a pair could not be deleted yet; the workers keep retrying.
    """
    with open_read_only() if dry_run else open_for_write() as opened:
        record = require_key(opened.context.keys.list(), key_id)
        preview = commands.preview_compromise(opened.context, key_id, include_standby=include_standby)
        impact = [compromise_impact_view(record, region_impact) for region_impact in preview]
        lines = _describe_impact(record, impact)
        if dry_run:
            data = {"id": key_id, "dryRun": True, "impact": _impact_json(impact)}
            print_result(data, as_json, *lines, "Nothing was changed.")
            return
        for line in lines:
            print_progress(line)
        confirm(f"Mark key {key_id} as compromised? This cannot be undone.", yes)
        commands.compromise(opened.context, key_id, opened.regions, include_standby=include_standby)
        retirement.wait_until_deleted(opened.context, key_id, opened.regions)
        stale = _wait_for_workers(opened)
        done = _print_compromise(opened, key_id, impact, stale, as_json)
    if not done:
        raise typer.Exit(1)


def _describe_impact(record: KeyRecord, impact: Sequence[CompromiseImpactView]) -> list[str]:
    """Which tokens become invalid, and for how long no token can be signed."""
    lines = []
    for region in impact:
        tokens = f"{region.region}: key {record.id} has signed no token"
        if region.affected_token_seconds:
            seconds = region.affected_token_seconds
            tokens = f"{region.region}: all tokens that key {record.id} signed in the last {seconds} s become invalid"
        if not region.was_active:
            lines.append(f"{tokens}; another key is active")
        elif region.successor:
            lines.append(f"{tokens}; key {region.successor} takes over immediately")
        else:
            lines.append(f"{tokens}; then no token can be signed for about {region.outage_seconds:.0f} s")
    return lines or [f"Key {record.id} is not in IVS in any region, so no token is affected."]


def _wait_for_workers(opened: KeysSession) -> list[StaleWorker]:
    """Wait for the workers to confirm; returns those that have not within SYNC_TIMEOUT_SECONDS."""
    for _ in range(SYNC_TIMEOUT_SECONDS):
        stale = _stale_workers(opened)
        if not stale:
            return []
        print_progress(f"Waiting for {count_of(len(stale), 'worker')} to confirm")
        opened.context.sleep(1)
    return _stale_workers(opened)


def _stale_workers(opened: KeysSession) -> list[StaleWorker]:
    return list_stale_workers(opened.store, reference_time(opened.settings, opened.store))


def _print_compromise(
    opened: KeysSession,
    key_id: str,
    impact: Sequence[CompromiseImpactView],
    stale: Sequence[StaleWorker],
    as_json: bool,
) -> bool:
    """Print the state of the compromised key in each region; returns whether all its pairs are deleted."""
    record = require_key(opened.context.keys.list(), key_id)
    report = retirement.compromise_report(record, opened.context.policy())
    done = all(region.deleted_at for region in report)
    lines = []
    for region in report:
        valid_until = instant_or_none(region.valid_until)
        if region.deleted_at:
            lines.append(f"{region.region}: deleted; its tokens were valid until {valid_until}")
        else:
            lines.append(
                f"{region.region}: not deleted yet; its tokens stay valid until then, at most to {valid_until}"
            )
    lines += [
        f"Worker {s.worker.heartbeat.worker_id} is not in sync and may sign with it until {instant_or_none(s.until)}."
        for s in stale
    ]
    lines.append(
        f"Key {key_id} deleted." if done else "The workers keep trying to delete it; or run: tokensvc keys reconcile"
    )
    data = {
        "id": key_id,
        "compromisedAt": instant_or_none(record.compromised_at),
        "done": done,
        "impact": _impact_json(impact),
        "regions": [
            {
                "region": region.region,
                "deletedAt": instant_or_none(region.deleted_at),
                "tokensValidUntil": instant_or_none(region.valid_until),
            }
            for region in report
        ],
        "staleWorkers": [stale_worker_view(s).model_dump(mode="json") for s in stale],
    }
    print_result(data, as_json, *lines)
    return done


def _impact_json(impact: Sequence[CompromiseImpactView]) -> list[dict[str, Any]]:
    return [region.model_dump(mode="json") for region in impact]


def _print_change(opened: KeysSession, before: KeyRecord, as_json: bool, message: str) -> bool:
    """Print a key's current state; returns whether it changed."""
    records = [record for record in opened.context.keys.list() if record.id == before.id]
    at = reference_time(opened.settings, opened.store)
    shown = key_view(records[0], at).model_dump(mode="json") if records else {"id": before.id, "deleted": True}
    changed = records != [before]
    print_result(shown, as_json, message if changed else "Nothing to do.")
    return changed
