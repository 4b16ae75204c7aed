"""`tokensvc keys retire`, `delete`, `compromise`: keys that end.

Rules of the file
- Each asks on a terminal and wants `--yes` elsewhere; what it will do is said first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.cli.keys.context import KeyId, OnlyRegions, OpenDeployment, select_regions, list_stale_workers, reference_time, open_for_write, open_read_only
from tokensvc.cli.keys.rotate import REQUESTED_BY, WaitOption, print_rotation
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, Yes, confirm, instant_or_none, print_progress, print_result
from tokensvc.keys import commands, retirement
from tokensvc.keys.lifecycle import KeyRecord, require_key
from tokensvc.keys.stale_workers import StaleWorker
from tokensvc.keys.views import CompromiseImpactView, compromise_impact_view, key_view, stale_worker_view

SYNC_TIMEOUT_SECONDS = 10
"""How long a compromise waits for its workers to say that they have heard: they tell every five seconds."""


def retire(
    key_id: KeyId,
    region: OnlyRegions = None,
    wait: WaitOption = None,
    yes: Yes = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Stop signing with a key: another takes over where it signs; where it only stands ready its pair is deleted."""
    with open_for_write() as opened:
        regions = select_regions(opened.regions, region)
        before = require_key(opened.context.keys.list(), key_id)
        confirm(f"Stop signing with key {key_id} in {', '.join(regions)}?", yes)
        rotation = retirement.retire(opened.context, key_id, regions, REQUESTED_BY)
        if rotation is None:
            changed = _print_change(opened, before, as_json, f"Key {key_id} stands ready nowhere any more.")
        else:
            changed = True
            if wait is not False:
                commands.complete_rotations(opened.context, list(rotation.previous_key_ids), wait_for_drain=bool(wait))
            print_rotation(opened, rotation, as_json)
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


def delete(
    what: Annotated[str, typer.Argument(metavar="KEY|ARN", help="A key, or one key pair by its ARN.")],
    region: OnlyRegions = None,
    yes: Yes = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Delete a key's pairs from IVS. Refused while it signs, while its tokens may live, and for pairs of others."""
    with open_for_write() as opened:
        if what.startswith("arn:"):
            confirm(f"Delete {what} from IVS?", yes)
            retirement.delete_pair(opened.context, what)
            print_result({"deleted": what}, as_json, f"{what} is deleted.")
            return
        before = require_key(opened.context.keys.list(), what)
        held = [p.account_region.region for p in before.placements if p.is_imported]
        regions = select_regions(held, region) if held else ()
        confirm(f"Delete key {what} from IVS in {', '.join(regions) or 'no region, since it is in none'}?", yes)
        commands.delete(opened.context, what, regions)
        changed = _print_change(opened, before, as_json, f"Key {what} is deleted in {', '.join(regions) or 'the vault'}.")
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


def compromise(
    key_id: KeyId,
    include_standby: Annotated[
        bool, typer.Option("--include-standby", help="Keys that never signed are compromised too; new ones are made.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Never sign with a key again, and delete its pairs at once: every token of it dies.

    Leaves with 1 while a pair could not be deleted yet; workers that perform go on trying.
    """
    with open_read_only() if dry_run else open_for_write() as opened:
        record = require_key(opened.context.keys.list(), key_id)
        foreseen = commands.preview_compromise(opened.context, key_id, include_standby=include_standby)
        outlook = [compromise_impact_view(record, prospect) for prospect in foreseen]
        lines = _describe_impact(record, outlook)
        if dry_run:
            data = {"id": key_id, "dryRun": True, "outlook": _impact_json(outlook)}
            print_result(data, as_json, *lines, "Nothing was changed.")
            return
        for line in lines:
            print_progress(line)
        confirm(f"Compromise key {key_id}? It cannot be undone.", yes)
        commands.compromise(opened.context, key_id, opened.regions, include_standby=include_standby)
        retirement.wait_until_deleted(opened.context, key_id, opened.regions)
        stale = _wait_for_workers(opened)
        done = _print_compromise(opened, key_id, outlook, stale, as_json)
    if not done:
        raise typer.Exit(1)


def _describe_impact(record: KeyRecord, outlook: Sequence[CompromiseImpactView]) -> list[str]:
    """Whose tokens die, and how long nobody gets one."""
    lines = []
    for region in outlook:
        dies = f"{region.region}: key {record.id} has signed no token"
        if region.affected_token_seconds:
            seconds = region.affected_token_seconds
            dies = f"{region.region}: every token dies that key {record.id} signed in the last {seconds} seconds"
        if not region.was_active:
            lines.append(f"{dies}; another key signs")
        elif region.successor:
            lines.append(f"{dies}; key {region.successor} takes over at once")
        else:
            lines.append(f"{dies}; then no token can be signed for about {region.outage_seconds:.0f} seconds")
    return lines or [f"IVS holds key {record.id} nowhere: no token of it is alive"]


def _wait_for_workers(opened: OpenDeployment) -> list[StaleWorker]:
    """The workers that have not said within some seconds that they heard."""
    for _ in range(SYNC_TIMEOUT_SECONDS):
        left = _stale_workers(opened)
        if not left:
            return []
        print_progress(f"{len(left)} workers have not said yet that they heard")
        opened.context.sleep(1)
    return _stale_workers(opened)


def _stale_workers(opened: OpenDeployment) -> list[StaleWorker]:
    return list_stale_workers(opened.store, reference_time(opened.settings, opened.store))


def _print_compromise(
    opened: OpenDeployment, key_id: str, outlook: Sequence[CompromiseImpactView], stale: Sequence[StaleWorker], as_json: bool
) -> bool:
    """Tell what is left of the key; whether nothing is."""
    record = require_key(opened.context.keys.list(), key_id)
    left = retirement.compromise_report(record, opened.context.policy())
    done = all(region.deleted_at for region in left)
    lines = []
    for region in left:
        if region.deleted_at:
            lines.append(f"{region.region}: deleted; its tokens were valid until {instant_or_none(region.valid_until)}")
        else:
            lines.append(
                f"{region.region}: not deleted yet; its tokens are valid until then, or {instant_or_none(region.valid_until)}"
            )
    lines += [
        f"{u.worker.heartbeat.worker_id} has not heard and may sign with it until {instant_or_none(u.until)}" for u in stale
    ]
    lines.append(
        f"Key {key_id} is gone." if done else "A worker that performs goes on deleting; or run: tokensvc keys reconcile"
    )
    data = {
        "id": key_id,
        "compromisedAt": instant_or_none(record.compromised_at),
        "done": done,
        "outlook": _impact_json(outlook),
        "regions": [
            {
                "region": region.region,
                "deletedAt": instant_or_none(region.deleted_at),
                "tokensValidUntil": instant_or_none(region.valid_until),
            }
            for region in left
        ],
        "staleWorkers": [stale_worker_view(u).model_dump(mode="json") for u in stale],
    }
    print_result(data, as_json, *lines)
    return done


def _impact_json(outlook: Sequence[CompromiseImpactView]) -> list[dict[str, Any]]:
    return [region.model_dump(mode="json") for region in outlook]


def _print_change(opened: OpenDeployment, before: KeyRecord, as_json: bool, lines: str) -> bool:
    """Show a key as it is by now; whether it changed."""
    records = [record for record in opened.context.keys.list() if record.id == before.id]
    at = reference_time(opened.settings, opened.store)
    shown = key_view(records[0], at).model_dump(mode="json") if records else {"id": before.id, "forgotten": True}
    changed = records != [before]
    print_result(shown, as_json, lines if changed else "Nothing to do.")
    return changed
