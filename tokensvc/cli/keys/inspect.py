"""`tokensvc keys list`, `show`, `public`: what there is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tokensvc.cli.keys.context import KeyId, list_stale_workers, reference_time, open_read_only, open_store
from tokensvc.cli.output import AsJson, print_progress, print_result, format_table
from tokensvc.cli.remedies import failure_text, problem_sentence
from tokensvc.errors import ControlPlaneError, ForeignDeployment
from tokensvc.jose import keypair
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import take_inventory, ownership
from tokensvc.keys.lifecycle import KeyRecord, require_key
from tokensvc.keys.rotation_policy import KEY_PAIRS_MAX
from tokensvc.keys.views import KeyDetailView, KeyView, key_detail_view, key_view

MAX_HISTORY = 50
_PLACEMENT_COLUMNS = ("REGION", "STATE", "SINCE", "AGE", "DRAINS UNTIL", "ARN")


def list_(
    ivs: Annotated[bool, typer.Option("--ivs", help="Ask IVS too: also pairs that are not ours.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the key pairs and their state in each region."""
    with open_store() as (settings, store):
        at = reference_time(settings, store)
        keys = [key_view(record, at) for record in store.keys.list()]
    data: dict[str, Any] = {"keys": [key.model_dump(mode="json") for key in keys]}
    lines = format_table(("KEY", *_PLACEMENT_COLUMNS), [row for key in keys for row in _placement_rows(key)])
    if ivs:
        with open_read_only() as opened:
            data["ivs"] = [_inspect_region(opened.context, region) for region in opened.regions]
        lines += ["", *(line for region in data["ivs"] for line in _describe_region(region))]
    print_result(data, as_json, *lines)


def show(key_id: KeyId, as_json: AsJson = False) -> None:
    """Show one key: its state in each region, what was done with it, and which workers have not heard of the newest."""
    with open_store() as (settings, store):
        record = require_key(store.keys.list(), key_id)
        at = reference_time(settings, store)
        workers = store.workers.list()
        workers_unable_to_decrypt = [w.heartbeat.worker_id for w in workers if key_id in w.heartbeat.undecryptable]
        history = store.journal.history(key_id, MAX_HISTORY + 1)
        detail = key_detail_view(record, at, history[:MAX_HISTORY], list_stale_workers(store, at), workers_unable_to_decrypt)
    print_result(detail.model_dump(mode="json"), as_json, *_describe(record, detail))
    if len(history) > MAX_HISTORY:
        print_progress(f"Only the newest {MAX_HISTORY} steps are shown; older steps are left out.")


def public(key_id: KeyId) -> None:
    """Print a key's public half as PEM."""
    with open_store() as (_, store):
        record = require_key(store.keys.list(), key_id)
    typer.echo(keypair.public_pem(keypair.read_public_der(record.public_der)), nl=False)


def _placement_rows(key: KeyView) -> list[tuple[str, ...]]:
    if not key.placements and key.damage:
        return [(key.id, "-", "damaged", "-", "-", "-", key.damage)]
    if not key.placements:
        return [(key.id, "-", "made", key.created_at, "-", "-", "not imported yet")]
    return [
        (key.id, p.region, p.state, p.since, _format_age(p.age_seconds), p.drains_at or "-", p.arn) for p in key.placements
    ]


def _describe(record: KeyRecord, detail: KeyDetailView) -> list[str]:
    compromised = f", compromised {detail.compromised_at}" if detail.compromised_at else ""
    lines = [f"Key {record.id}, made {detail.created_at}{compromised}; fingerprint {detail.fingerprint}", ""]
    if record.damage:
        lines += [f"It cannot be read, and is left as it is: {record.damage}", ""]
    lines += format_table(_PLACEMENT_COLUMNS, [row[1:] for row in _placement_rows(detail)])
    steps = [
        (s.started_at, s.finished_at or "open", s.step, s.region or "-", s.outcome or "-", s.reason)
        for s in detail.history
    ]
    lines += ["", *format_table(("BEGUN", "ENDED", "STEP", "REGION", "OUTCOME", "WHY"), steps)]
    lines += [
        "",
        *(f"{w.worker_id} may not have heard of the newest keys until {w.until}" for w in detail.stale_workers),
    ]
    lines += [
        f"{worker_id} cannot open its private half: tokensvc doctor" for worker_id in detail.workers_unable_to_decrypt
    ]
    if not detail.stale_workers:
        lines.append("Every worker has heard of the newest keys.")
    return lines


def _inspect_region(context: KeysContext, region: str) -> dict[str, Any]:
    """What IVS holds in a region that is not ours, and what is strange there."""
    try:
        seen = take_inventory(context, region)
    except (ControlPlaneError, ForeignDeployment) as failure:
        return {"region": region, "error": {"code": failure.code, "message": failure_text(failure)}}
    foreign = [pair for pair in seen.pairs if ownership(pair, seen.deployment_id) == "foreign"]
    return {
        "region": region,
        "slotsUsed": len(seen.pairs),
        "slots": KEY_PAIRS_MAX,
        "foreign": [
            {"arn": pair["arn"], "name": pair.get("name", ""), "tags": pair.get("tags", {})} for pair in foreign
        ],
        "findings": [problem_sentence(problem) for problem in seen.problems],
    }


def _describe_region(seen: dict[str, Any]) -> list[str]:
    if "error" in seen:
        return [f"{seen['region']}: {seen['error']['message']}"]
    theirs = [f"  not ours: {pair['arn']} {pair['name']}".rstrip() for pair in seen["foreign"]]
    used = f"{seen['region']}: IVS holds {seen['slotsUsed']} of {seen['slots']} key pairs"
    return [used, *theirs, *(f"  {finding}" for finding in seen["findings"])]


def _format_age(seconds: int) -> str:
    """A duration as people say it, in its two largest units."""
    units = (("d", seconds // 86_400), ("h", seconds // 3600 % 24), ("m", seconds // 60 % 60), ("s", seconds % 60))
    said = [f"{count}{unit}" for unit, count in units]
    first = next((i for i, (_, count) in enumerate(units) if count), len(units) - 1)
    return " ".join(said[first : first + 2])
