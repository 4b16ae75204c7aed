"""`tokensvc keys list`, `show`, `public`: shows keys."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tokensvc.cli.help import KEY_ID, examples
from tokensvc.cli.keys.context import KeyId, list_stale_workers, open_read_only, open_store, reference_time
from tokensvc.cli.output import AsJson, format_table, print_progress, print_result, print_text
from tokensvc.cli.remedies import failure_text, problem_sentence
from tokensvc.errors import ControlPlaneError, ForeignDeployment
from tokensvc.jose import keypair
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import ownership, take_inventory
from tokensvc.keys.lifecycle import KeyRecord, require_key
from tokensvc.keys.rotation_policy import MAX_KEY_PAIRS
from tokensvc.keys.views import KeyDetailView, KeyView, key_detail_view, key_view

MaxHistory = Annotated[
    int,
    typer.Option("--max-results", min=1, max=100_000, metavar="COUNT", help="Maximum number of steps of its history."),
]
_PLACEMENT_COLUMNS = ("REGION", "STATE", "SINCE", "AGE", "DRAINS UNTIL", "ARN")


@examples(
    ("Every key and its state in each region", "tokensvc keys list"),
    ("Compare with what IVS holds, foreign key pairs included", "tokensvc keys list --ivs"),
    ("For a script", "tokensvc keys list --json"),
)
def list_(
    ivs: Annotated[
        bool,
        typer.Option("--ivs", help="Also list IVS's key pairs that tokensvc did not create, and report mismatches."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys and their state in each region."""
    with open_store() as (settings, store):
        at = reference_time(settings, store)
        keys = [key_view(record, at) for record in store.keys.list()]
    data: dict[str, Any] = {"keys": [key.model_dump(mode="json") for key in keys]}
    lines = format_table(("KEY", *_PLACEMENT_COLUMNS), [row for key in keys for row in _placement_rows(key)])
    if ivs:
        with open_read_only(settings) as opened:
            data["ivs"] = [_inspect_region(opened.context, region) for region in opened.regions]
        lines += ["", *(line for region in data["ivs"] for line in _describe_region(region))]
    print_result(data, as_json, *lines)


@examples(
    ("States, drain times, history, and workers that are not in sync", f"tokensvc keys show {KEY_ID}"),
    ("With its whole history, for a script", f"tokensvc keys show {KEY_ID} --max-results 10000 --json"),
)
def show(key_id: KeyId, max_results: MaxHistory = 50, as_json: AsJson = False) -> None:
    """Show one key: its state in each region, its history, and the workers that are not in sync."""
    with open_store() as (settings, store):
        record = require_key(store.keys.list(), key_id)
        at = reference_time(settings, store)
        workers = store.workers.list()
        workers_unable_to_decrypt = [w.heartbeat.worker_id for w in workers if key_id in w.heartbeat.undecryptable]
        history = store.journal.history(key_id, max_results + 1)
        detail = key_detail_view(
            record, at, history[:max_results], list_stale_workers(store, at), workers_unable_to_decrypt
        )
    is_truncated = len(history) > max_results
    data = detail.model_dump(mode="json") | {"historyTruncated": is_truncated}
    print_result(data, as_json, *_describe(record, detail))
    if is_truncated:
        print_progress("Older steps of its history are left out: raise --max-results.")


@examples(
    ("Save the public key", f"tokensvc keys public {KEY_ID} > public.pem"),
)
def public(key_id: KeyId) -> None:
    """Print the public key as PEM."""
    with open_store() as (_, store):
        record = require_key(store.keys.list(), key_id)
    print_text(*keypair.public_pem(keypair.read_public_der(record.public_der)).splitlines())


def _placement_rows(key: KeyView) -> list[tuple[str, ...]]:
    if not key.placements and key.damage:
        return [(key.id, "-", "damaged", "-", "-", "-", key.damage)]
    if not key.placements:
        return [(key.id, "-", "created", key.created_at, "-", "-", "not imported yet")]
    return [
        (key.id, p.region, p.state, p.since, _format_age(p.age_seconds), p.drains_at or "-", p.arn)
        for p in key.placements
    ]


def _describe(record: KeyRecord, detail: KeyDetailView) -> list[str]:
    compromised = f", compromised {detail.compromised_at}" if detail.compromised_at else ""
    lines = [f"Key {record.id}, created {detail.created_at}{compromised}; fingerprint {detail.fingerprint}", ""]
    if record.damage:
        lines += [f"The record of this key cannot be read, so the key is not touched: {record.damage}", ""]
    lines += format_table(_PLACEMENT_COLUMNS, [row[1:] for row in _placement_rows(detail)])
    steps = [
        (s.started_at, s.finished_at or "open", s.step, s.region or "-", s.outcome or "-", s.reason)
        for s in detail.history
    ]
    lines += ["", *format_table(("STARTED", "FINISHED", "STEP", "REGION", "OUTCOME", "REASON"), steps)]
    lines += [
        "",
        *(f"Worker {w.worker_id} may use an older key set until {w.until}." for w in detail.stale_workers),
    ]
    lines += [
        f"Worker {worker_id} cannot decrypt the private key: run `tokensvc doctor`."
        for worker_id in detail.workers_unable_to_decrypt
    ]
    if not detail.stale_workers:
        lines.append("All workers are in sync.")
    return lines


def _inspect_region(context: KeysContext, region: str) -> dict[str, Any]:
    """The slots used in a region, the foreign key pairs there, and mismatches with the store."""
    try:
        inventory = take_inventory(context, region)
    except (ControlPlaneError, ForeignDeployment) as failure:
        return {"region": region, "error": {"code": failure.code, "message": failure_text(failure)}}
    foreign = [pair for pair in inventory.pairs if ownership(pair, inventory.deployment_id) == "foreign"]
    return {
        "region": region,
        "slotsUsed": len(inventory.pairs),
        "slotsLimit": MAX_KEY_PAIRS,
        "foreign": [
            {"arn": pair["arn"], "name": pair.get("name", ""), "tags": pair.get("tags", {})} for pair in foreign
        ],
        "problems": [problem_sentence(problem) for problem in inventory.problems],
    }


def _describe_region(region: dict[str, Any]) -> list[str]:
    if "error" in region:
        return [f"{region['region']}: {region['error']['message']}"]
    foreign = [f"  other application: {pair['arn']} {pair['name']}".rstrip() for pair in region["foreign"]]
    used = f"{region['region']}: {region['slotsUsed']} of {region['slotsLimit']} key slots used"
    return [used, *foreign, *(f"  problem: {problem}" for problem in region["problems"])]


def _format_age(seconds: int) -> str:
    """A duration in its two largest units, such as `3d 4h`."""
    units = (("d", seconds // 86_400), ("h", seconds // 3600 % 24), ("m", seconds // 60 % 60), ("s", seconds % 60))
    parts = [f"{count}{unit}" for unit, count in units]
    first = next((i for i, (_, count) in enumerate(units) if count), len(units) - 1)
    return " ".join(parts[first : first + 2])
