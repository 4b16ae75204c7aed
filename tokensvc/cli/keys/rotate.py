"""`tokensvc keys rotate`, `reconcile`, `activate`: which key signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.cli.keys.context import KeyId, OnlyRegions, Opened, among, moment, to_act, to_look
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, instant, result
from tokensvc.keys import commands
from tokensvc.keys.forecast import plan
from tokensvc.keys.inventory import take_inventory
from tokensvc.keys.lifecycle import KeyState, Step, Wait, active_placement, require_key
from tokensvc.keys.rotation_requests import RotationRequest
from tokensvc.keys.views import key_view, rotation_view

BY = "the command line"
Patient = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="Wait for drains too, where all slots are filled; or for nothing, and leave it to the workers.",
        show_default="waits for leads",
    ),
]


def rotate(region: OnlyRegions = None, wait: Patient = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Put another key to work; IVS keeps admitting the tokens of the one before it until they have ended."""
    if dry_run:
        _foretell(region, replace=True, as_json=as_json, detailed=False)
        return
    with to_act() as opened:
        regions = among(opened.regions, region)
        if wait is False:
            wish = commands.request_rotation(opened.world, regions, BY)
        else:
            wish = commands.rotate(opened.world, regions, BY, patient=bool(wait))
        tell(opened, wish, as_json)


def reconcile(
    region: OnlyRegions = None,
    wait: Patient = None,
    dry_run: DryRun = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Go on with what was begun or asked for: every step that is due, until a key signs in each region."""
    if dry_run:
        _foretell(region, replace=False, as_json=as_json, detailed=detailed_exit_code)
        return
    with to_act() as opened:
        regions = among(opened.regions, region)
        before = opened.world.keys.list()
        if wait is False:
            commands.advance_once(opened.world, regions)
        else:
            commands.reconcile(opened.world, regions, patient=bool(wait))
        records = opened.world.keys.list()
        keys = [key_view(record, moment(opened.settings, opened.store)) for record in records]
    changed = records != before
    signing = {r: active_placement([p for k in records for p in k.placements if p.place.region == r]) for r in regions}
    words = [
        f"Key {there.key_id} signs in {name}." if there else f"No key signs in {name}."
        for name, there in signing.items()
    ]
    words.append("Gone on with." if changed else "Nothing to do.")
    result({"changed": changed, "keys": [k.model_dump(mode="json") for k in keys]}, as_json, *words)
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


def activate(
    key_id: KeyId, region: OnlyRegions = None, detailed_exit_code: DetailedExitCode = False, as_json: AsJson = False
) -> None:
    """Sign with this key, which stands ready or is retiring, as soon as IVS has held it for the lead; also where its
    fingerprint differs."""
    with to_act() as opened:
        before = require_key(opened.world.keys.list(), key_id)
        ready = [p.place.region for p in before.placements if p.state in {KeyState.PREPARED, KeyState.RETIRING}]
        regions = among(opened.regions, region) if region else [r for r in opened.regions if r in ready]
        active = [p.place.region for p in before.placements if p.state is KeyState.ACTIVE]
        todo = [r for r in regions or opened.regions if r not in active]
        record = commands.activate(opened.world, key_id, todo)
        shown = key_view(record, moment(opened.settings, opened.store))
    words = [f"Key {key_id} signs in {p.region}." for p in shown.placements if p.state == KeyState.ACTIVE]
    result(shown.model_dump(mode="json"), as_json, *words)
    if detailed_exit_code and record == before:
        raise typer.Exit(NOTHING_TO_DO)


def tell(opened: Opened, wish: RotationRequest, as_json: bool) -> None:
    """Show how far a rotation is."""
    shown = rotation_view(wish, commands.fulfilled(opened.world.keys.list(), wish))
    words = [
        f"Key {r.active_key_id} signs now in {r.region}."
        if r.active_key_id
        else f"Asked for in {r.region}; the workers go on with it."
        for r in shown.regions
    ]
    result(shown.model_dump(mode="json"), as_json, *words)


def _foretell(region: Sequence[str] | None, *, replace: bool, as_json: bool, detailed: bool) -> None:
    """Print what would be done in each region."""
    with to_look() as opened:
        regions = [_coming(opened, r, replace) for r in among(opened.regions, region)]
    lines = []
    for coming in regions:
        lines.append(f"{coming['region']}:")
        lines += [f"  {_in_words(said)}: {said['why']}" for said in coming["steps"]]
        lines += [] if coming["steps"] else ["  nothing to do"]
    result({"dryRun": True, "regions": regions}, as_json, *lines, "Nothing was changed.")
    if detailed and not any(coming["steps"] for coming in regions):
        raise typer.Exit(NOTHING_TO_DO)


def _coming(opened: Opened, region: str, replace: bool) -> dict[str, Any]:
    standing = take_inventory(opened.world, region).standing
    active = active_placement(standing.pairs)
    if replace and active is not None:
        standing = standing._replace(to_replace=standing.to_replace | {active.key_id})
    steps = plan(standing, opened.world.now(), opened.world.policy())
    return {"region": region, "steps": [_said(step) for step in steps]}


def _said(coming: Step | Wait) -> dict[str, Any]:
    if isinstance(coming, Wait):
        return {"step": None, "key": None, "until": instant(coming.until), "reason": coming.reason}
    return {"step": coming.kind.value, "key": coming.key_id, "until": None, "reason": coming.reason}


def _in_words(said: dict[str, Any]) -> str:
    if said["step"]:
        return f"{said['step']} {said['key']}"
    return f"wait until {said['until']}" if said["until"] else "wait"
