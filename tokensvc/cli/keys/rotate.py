"""`tokensvc keys rotate`, `reconcile`, `activate`: which key is active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.cli.help import KEY_ID, examples
from tokensvc.cli.keys.context import (
    KeyId,
    KeysSession,
    RegionsOption,
    open_for_write,
    open_read_only,
    reference_time,
    require_configured_regions,
)
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, DryRun, instant_or_none, print_result
from tokensvc.keys import commands
from tokensvc.keys.forecast import plan
from tokensvc.keys.inventory import take_inventory
from tokensvc.keys.lifecycle import KeyState, Step, Wait, active_placement, require_key
from tokensvc.keys.store import RotationRequest
from tokensvc.keys.views import key_view, rotation_view

REQUESTED_BY = "the command line"
WaitOption = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="Also wait for a retiring key to drain, if all slots are full; or leave the rotation to the workers and "
        "do not wait.",
        show_default="wait for propagation only",
    ),
]


@examples(
    ("See the steps first", "tokensvc keys rotate --dry-run"),
    ("Rotate in every region, and wait until the next key is active", "tokensvc keys rotate"),
    ("In one region, and leave the waiting to the workers", "tokensvc keys rotate --region us-east-1 --no-wait"),
)
def rotate(
    region: RegionsOption = None, wait: WaitOption = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Replace the active key with another one. Tokens of the previous key stay valid until they expire."""
    if dry_run:
        _print_plan(region, replace=True, as_json=as_json, detailed=False)
        return
    with open_for_write() as opened:
        regions = require_configured_regions(opened.regions, region)
        if wait is False:
            rotation = commands.request_rotation(opened.context, regions, REQUESTED_BY)
        else:
            rotation = commands.rotate(opened.context, regions, REQUESTED_BY, wait_for_drain=bool(wait))
        print_rotation(opened, rotation, as_json)


@examples(
    ("Which steps are due?", "tokensvc keys reconcile --dry-run"),
    ("Take them", "tokensvc keys reconcile"),
    ("In a script: exit code 3 if nothing was due", "tokensvc keys reconcile --detailed-exit-code"),
)
def reconcile(
    region: RegionsOption = None,
    wait: WaitOption = None,
    dry_run: DryRun = False,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Take every step that is due, including interrupted ones, until each region has an active key."""
    if dry_run:
        _print_plan(region, replace=False, as_json=as_json, detailed=detailed_exit_code)
        return
    with open_for_write() as opened:
        regions = require_configured_regions(opened.regions, region)
        before = opened.context.keys.list()
        if wait is False:
            commands.reconcile_once(opened.context, regions)
        else:
            commands.reconcile_and_wait(opened.context, regions, wait_for_drain=bool(wait))
        records = opened.context.keys.list()
        keys = [key_view(record, reference_time(opened.settings, opened.store)) for record in records]
    changed = records != before
    active = {
        r: active_placement([p for k in records for p in k.placements if p.account_region.region == r]) for r in regions
    }
    lines = [
        f"Key {placement.key_id} is active in {name}." if placement else f"No key is active in {name}."
        for name, placement in active.items()
    ]
    lines.append("Reconciled." if changed else "Nothing to do.")
    print_result({"changed": changed, "keys": [k.model_dump(mode="json") for k in keys]}, as_json, *lines)
    if detailed_exit_code and not changed:
        raise typer.Exit(NOTHING_TO_DO)


@examples(
    ("Activate a key in every region where it is prepared", f"tokensvc keys activate {KEY_ID}"),
    ("In one region only", f"tokensvc keys activate {KEY_ID} --region us-east-1"),
)
def activate(
    key_id: KeyId, region: RegionsOption = None, detailed_exit_code: DetailedExitCode = False, as_json: AsJson = False
) -> None:
    """Make a prepared or retiring key the active one, once its import has propagated.

    Also activates a key whose fingerprint in IVS differs, which rotation never does by itself.
    """
    with open_for_write() as opened:
        before = require_key(opened.context.keys.list(), key_id)
        candidates = [
            p.account_region.region for p in before.placements if p.state in {KeyState.PREPARED, KeyState.RETIRING}
        ]
        regions = (
            require_configured_regions(opened.regions, region)
            if region
            else [r for r in opened.regions if r in candidates]
        )
        active = [p.account_region.region for p in before.placements if p.state is KeyState.ACTIVE]
        pending = [r for r in regions or opened.regions if r not in active]
        record = commands.activate(opened.context, key_id, pending)
        shown = key_view(record, reference_time(opened.settings, opened.store))
    lines = [f"Key {key_id} is active in {p.region}." for p in shown.placements if p.state == KeyState.ACTIVE]
    print_result(shown.model_dump(mode="json"), as_json, *lines)
    if detailed_exit_code and record == before:
        raise typer.Exit(NOTHING_TO_DO)


def print_rotation(opened: KeysSession, rotation: RotationRequest, as_json: bool) -> None:
    """Print the progress of a rotation."""
    shown = rotation_view(rotation, commands.replacement_keys(opened.context.keys.list(), rotation))
    lines = [
        f"Key {r.active_key_id} is now active in {r.region}."
        if r.active_key_id
        else f"Rotation requested in {r.region}; the workers will carry it out."
        for r in shown.regions
    ]
    print_result(shown.model_dump(mode="json"), as_json, *lines)


def _print_plan(region: Sequence[str] | None, *, replace: bool, as_json: bool, detailed: bool) -> None:
    """Print the steps that would be taken in each region."""
    with open_read_only() as opened:
        regions = [_plan_region(opened, r, replace) for r in require_configured_regions(opened.regions, region)]
    lines = []
    for planned in regions:
        lines.append(f"{planned['region']}:")
        lines += [f"  {_describe_step(step)}: {step['reason']}" for step in planned["steps"]]
        lines += [] if planned["steps"] else ["  nothing to do"]
    print_result({"dryRun": True, "regions": regions}, as_json, *lines, "Nothing was changed.")
    if detailed and not any(planned["steps"] for planned in regions):
        raise typer.Exit(NOTHING_TO_DO)


def _plan_region(opened: KeysSession, region: str, replace: bool) -> dict[str, Any]:
    state = take_inventory(opened.context, region).region_state
    active = active_placement(state.placements)
    if replace and active is not None:
        state = state._replace(to_replace=state.to_replace | {active.key_id})
    steps = plan(state, opened.context.now(), opened.context.policy())
    return {"region": region, "steps": [_step_json(step) for step in steps]}


def _step_json(step: Step | Wait) -> dict[str, Any]:
    if isinstance(step, Wait):
        return {"step": None, "key": None, "until": instant_or_none(step.until), "reason": step.reason}
    return {"step": step.kind.value, "key": step.key_id, "until": None, "reason": step.reason}


def _describe_step(step: dict[str, Any]) -> str:
    if step["step"]:
        return f"{step['step']} {step['key']}"
    return f"wait until {step['until']}" if step["until"] else "wait"
