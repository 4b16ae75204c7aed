"""`tokensvc keys rotate`, `reconcile`, `activate`: which key signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.cli.keys.context import KeyId, OnlyRegions, OpenDeployment, select_regions, reference_time, open_for_write, open_read_only
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, instant_or_none, print_result
from tokensvc.keys import commands
from tokensvc.keys.forecast import plan
from tokensvc.keys.inventory import take_inventory
from tokensvc.keys.lifecycle import KeyState, Step, Wait, active_placement, require_key
from tokensvc.keys.rotation_requests import RotationRequest
from tokensvc.keys.views import key_view, rotation_view

REQUESTED_BY = "the command line"
WaitOption = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="Wait for drains too, where all slots are filled; or for nothing, and leave it to the workers.",
        show_default="waits for leads",
    ),
]


def rotate(region: OnlyRegions = None, wait: WaitOption = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Put another key to work; IVS keeps admitting the tokens of the one before it until they have ended."""
    if dry_run:
        _print_plan(region, replace=True, as_json=as_json, detailed=False)
        return
    with open_for_write() as opened:
        regions = select_regions(opened.regions, region)
        if wait is False:
            rotation = commands.request_rotation(opened.context, regions, REQUESTED_BY)
        else:
            rotation = commands.rotate(opened.context, regions, REQUESTED_BY, wait_for_drain=bool(wait))
        print_rotation(opened, rotation, as_json)


def reconcile(
    region: OnlyRegions = None,
    wait: WaitOption = None,
    dry_run: DryRun = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Go on with what was begun or asked for: every step that is due, until a key signs in each region."""
    if dry_run:
        _print_plan(region, replace=False, as_json=as_json, detailed=detailed_exit_code)
        return
    with open_for_write() as opened:
        regions = select_regions(opened.regions, region)
        before = opened.context.keys.list()
        if wait is False:
            commands.reconcile_once(opened.context, regions)
        else:
            commands.reconcile_and_wait(opened.context, regions, wait_for_drain=bool(wait))
        records = opened.context.keys.list()
        keys = [key_view(record, reference_time(opened.settings, opened.store)) for record in records]
    changed = records != before
    signing = {r: active_placement([p for k in records for p in k.placements if p.account_region.region == r]) for r in regions}
    lines = [
        f"Key {placement.key_id} signs in {name}." if placement else f"No key signs in {name}."
        for name, placement in signing.items()
    ]
    lines.append("Gone on with." if changed else "Nothing to do.")
    print_result({"changed": changed, "keys": [k.model_dump(mode="json") for k in keys]}, as_json, *lines)
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


def activate(
    key_id: KeyId, region: OnlyRegions = None, detailed_exit_code: DetailedExitCode = False, as_json: AsJson = False
) -> None:
    """Sign with this key, which stands ready or is retiring, as soon as IVS has held it for the lead; also where its
    fingerprint differs."""
    with open_for_write() as opened:
        before = require_key(opened.context.keys.list(), key_id)
        ready = [p.account_region.region for p in before.placements if p.state in {KeyState.PREPARED, KeyState.RETIRING}]
        regions = select_regions(opened.regions, region) if region else [r for r in opened.regions if r in ready]
        active = [p.account_region.region for p in before.placements if p.state is KeyState.ACTIVE]
        todo = [r for r in regions or opened.regions if r not in active]
        record = commands.activate(opened.context, key_id, todo)
        shown = key_view(record, reference_time(opened.settings, opened.store))
    lines = [f"Key {key_id} signs in {p.region}." for p in shown.placements if p.state == KeyState.ACTIVE]
    print_result(shown.model_dump(mode="json"), as_json, *lines)
    if detailed_exit_code and record == before:
        raise typer.Exit(NOTHING_TO_DO)


def print_rotation(opened: OpenDeployment, rotation: RotationRequest, as_json: bool) -> None:
    """Show how far a rotation is."""
    shown = rotation_view(rotation, commands.replacement_keys(opened.context.keys.list(), rotation))
    lines = [
        f"Key {r.active_key_id} signs now in {r.region}."
        if r.active_key_id
        else f"Asked for in {r.region}; the workers go on with it."
        for r in shown.regions
    ]
    print_result(shown.model_dump(mode="json"), as_json, *lines)


def _print_plan(region: Sequence[str] | None, *, replace: bool, as_json: bool, detailed: bool) -> None:
    """Print what would be done in each region."""
    with open_read_only() as opened:
        regions = [_plan_region(opened, r, replace) for r in select_regions(opened.regions, region)]
    lines = []
    for coming in regions:
        lines.append(f"{coming['region']}:")
        lines += [f"  {_describe_step(said)}: {said['why']}" for said in coming["steps"]]
        lines += [] if coming["steps"] else ["  nothing to do"]
    print_result({"dryRun": True, "regions": regions}, as_json, *lines, "Nothing was changed.")
    if detailed and not any(coming["steps"] for coming in regions):
        raise typer.Exit(NOTHING_TO_DO)


def _plan_region(opened: OpenDeployment, region: str, replace: bool) -> dict[str, Any]:
    standing = take_inventory(opened.context, region).region_state
    active = active_placement(standing.placements)
    if replace and active is not None:
        standing = standing._replace(to_replace=standing.to_replace | {active.key_id})
    steps = plan(standing, opened.context.now(), opened.context.policy())
    return {"region": region, "steps": [_step_json(step) for step in steps]}


def _step_json(coming: Step | Wait) -> dict[str, Any]:
    if isinstance(coming, Wait):
        return {"step": None, "key": None, "until": instant_or_none(coming.until), "reason": coming.reason}
    return {"step": coming.kind.value, "key": coming.key_id, "until": None, "reason": coming.reason}


def _describe_step(said: dict[str, Any]) -> str:
    if said["step"]:
        return f"{said['step']} {said['key']}"
    return f"wait until {said['until']}" if said["until"] else "wait"
