"""`tokensvc keys retire`, `delete`, `compromise`: keys that end.

Rules of the file
- Each asks on a terminal and wants `--yes` elsewhere; what it will do is said first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.cli.keys.context import KeyId, OnlyRegions, Opened, among, behind, moment, to_act, to_look
from tokensvc.cli.keys.rotate import BY, Patient, tell
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, Yes, confirm, instant, progress, result
from tokensvc.keys import commands, retirement
from tokensvc.keys.lifecycle import KeyRecord, require_key
from tokensvc.keys.stale_workers import StaleWorker
from tokensvc.keys.views import CompromiseImpactView, compromise_impact_view, key_view, stale_worker_view

HEARD_WITHIN_SECONDS = 10
"""How long a compromise waits for its workers to say that they have heard: they tell every five seconds."""


def retire(
    key_id: KeyId,
    region: OnlyRegions = None,
    wait: Patient = None,
    yes: Yes = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Stop signing with a key: another takes over where it signs; where it only stands ready its pair is deleted."""
    with to_act() as opened:
        regions = among(opened.regions, region)
        before = require_key(opened.world.keys.list(), key_id)
        confirm(f"Stop signing with key {key_id} in {', '.join(regions)}?", yes)
        wish = retirement.retire(opened.world, key_id, regions, BY)
        if wish is None:
            changed = _told(opened, before, as_json, f"Key {key_id} stands ready nowhere any more.")
        else:
            changed = True
            if wait is not False:
                commands.see_through(opened.world, list(wish.previous_key_ids), patient=bool(wait))
            tell(opened, wish, as_json)
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
    with to_act() as opened:
        if what.startswith("arn:"):
            confirm(f"Delete {what} from IVS?", yes)
            retirement.delete_pair(opened.world, what)
            result({"deleted": what}, as_json, f"{what} is deleted.")
            return
        before = require_key(opened.world.keys.list(), what)
        held = [p.place.region for p in before.placements if p.is_held]
        regions = among(held, region) if held else ()
        confirm(f"Delete key {what} from IVS in {', '.join(regions) or 'no region, since it is in none'}?", yes)
        commands.delete(opened.world, what, regions)
        changed = _told(opened, before, as_json, f"Key {what} is deleted in {', '.join(regions) or 'the vault'}.")
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
    with to_look() if dry_run else to_act() as opened:
        record = require_key(opened.world.keys.list(), key_id)
        foreseen = commands.foresee(opened.world, key_id, include_standby=include_standby)
        outlook = [compromise_impact_view(record, prospect) for prospect in foreseen]
        words = _outlook(record, outlook)
        if dry_run:
            data = {"id": key_id, "dryRun": True, "outlook": _dumped(outlook)}
            result(data, as_json, *words, "Nothing was changed.")
            return
        for line in words:
            progress(line)
        confirm(f"Compromise key {key_id}? It cannot be undone.", yes)
        commands.compromise(opened.world, key_id, opened.regions, include_standby=include_standby)
        retirement.see_gone(opened.world, key_id, opened.regions)
        unheard = _until_heard(opened)
        done = _report(opened, key_id, outlook, unheard, as_json)
    if not done:
        raise typer.Exit(1)


def _outlook(record: KeyRecord, outlook: Sequence[CompromiseImpactView]) -> list[str]:
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


def _until_heard(opened: Opened) -> list[StaleWorker]:
    """The workers that have not said within some seconds that they heard."""
    for _ in range(HEARD_WITHIN_SECONDS):
        left = _behind(opened)
        if not left:
            return []
        progress(f"{len(left)} workers have not said yet that they heard")
        opened.world.sleep(1)
    return _behind(opened)


def _behind(opened: Opened) -> list[StaleWorker]:
    return behind(opened.store, moment(opened.settings, opened.store))


def _report(
    opened: Opened, key_id: str, outlook: Sequence[CompromiseImpactView], unheard: Sequence[StaleWorker], as_json: bool
) -> bool:
    """Tell what is left of the key; whether nothing is."""
    record = require_key(opened.world.keys.list(), key_id)
    left = retirement.aftermath(record, opened.world.policy())
    done = all(region.deleted_at for region in left)
    lines = []
    for region in left:
        if region.deleted_at:
            lines.append(f"{region.region}: deleted; its tokens were valid until {instant(region.valid_until)}")
        else:
            lines.append(
                f"{region.region}: not deleted yet; its tokens are valid until then, or {instant(region.valid_until)}"
            )
    lines += [
        f"{u.worker.heartbeat.worker_id} has not heard and may sign with it until {instant(u.until)}" for u in unheard
    ]
    lines.append(
        f"Key {key_id} is gone." if done else "A worker that performs goes on deleting; or run: tokensvc keys reconcile"
    )
    data = {
        "id": key_id,
        "compromisedAt": instant(record.compromised_at),
        "done": done,
        "outlook": _dumped(outlook),
        "regions": [
            {
                "region": region.region,
                "deletedAt": instant(region.deleted_at),
                "tokensValidUntil": instant(region.valid_until),
            }
            for region in left
        ],
        "staleWorkers": [stale_worker_view(u).model_dump(mode="json") for u in unheard],
    }
    result(data, as_json, *lines)
    return done


def _dumped(outlook: Sequence[CompromiseImpactView]) -> list[dict[str, Any]]:
    return [region.model_dump(mode="json") for region in outlook]


def _told(opened: Opened, before: KeyRecord, as_json: bool, words: str) -> bool:
    """Show a key as it is by now; whether it changed."""
    records = [record for record in opened.world.keys.list() if record.id == before.id]
    at = moment(opened.settings, opened.store)
    shown = key_view(records[0], at).model_dump(mode="json") if records else {"id": before.id, "forgotten": True}
    changed = records != [before]
    result(shown, as_json, words if changed else "Nothing to do.")
    return changed
