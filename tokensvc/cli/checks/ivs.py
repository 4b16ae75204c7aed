"""Checks IVS, region by region: compares the key pairs that exist there with the store's records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar

from tokensvc.aws.ivs import AwsControlPlane
from tokensvc.cli.checks.finding import Finding, failure_finding, needs_reconcile, try_check
from tokensvc.cli.checks.rows import FROM_BACKUP
from tokensvc.cli.keys.context import reference_time
from tokensvc.cli.output import count_of, format_duration
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.container.control_plane import configured_regions, make_control_plane
from tokensvc.errors import (
    ControlPlaneDenied,
    ControlPlaneError,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
    ForeignDeployment,
    SettingsError,
    TokensvcError,
)
from tokensvc.keys.inventory import GRACE_SECONDS, PlaybackKeyPair, is_compromised, list_pairs, owner_tags
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, active_placement
from tokensvc.keys.rotation_policy import MAX_KEY_PAIRS, check_slots
from tokensvc.keys.views import ReferenceTime
from tokensvc.settings import Settings
from tokensvc.storage.store import Store

ROTATE = "tokensvc keys rotate"
UNSET_ENDPOINT = "unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_IVS   (and correct what the message names)"
RUN_AGAIN = "tokensvc doctor"
SET_PROFILE = "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN; export AWS_PROFILE=PROFILE"
"""boto3 prefers the first three variables to any profile."""
_T = TypeVar("_T")
DATE_RESOLUTION_SECONDS = 1
"""The `Date` header has whole seconds."""


class Region(NamedTuple):
    """A region as seen by IVS and by the store."""

    name: str
    pairs: Mapping[str, PlaybackKeyPair]
    """The key pairs in IVS, by ARN."""
    placements: Mapping[str, KeyPlacement]
    """The store's records of keys imported there, by ARN."""
    records: Mapping[str, KeyRecord]
    """Every key, by id."""
    unreadable: frozenset[str]
    """ARNs of our pairs whose rows cannot be read; `check_rows` reports those."""
    deployment_id: str
    at: ReferenceTime
    is_local: bool
    """Whether IVS is the local one."""
    fingerprint: Callable[[str], str | None]
    """The fingerprint that IVS reports for an ARN. Raises ControlPlaneError."""


def check_ivs(settings: Settings, store: Store) -> Iterator[Finding]:
    """Check every region. Changes nothing, neither in IVS nor in the store."""
    records = store.keys.list()
    imported = {
        placement.account_region.region
        for record in records
        for placement in record.all_placements
        if placement.is_imported
    }
    fix = f"export TOKENSVC_REGIONS={','.join(sorted(imported)) or 'us-east-1'}   (or set AWS_REGION)"
    regions, finding = try_check("regions", lambda: configured_regions(settings), fix)
    if regions is None:
        yield finding
        return
    control_plane, finding = try_check("IVS", lambda: make_control_plane(settings), UNSET_ENDPOINT)
    if control_plane is None:
        yield finding
        return
    for name in [*regions, *sorted(imported - set(regions))]:
        region, finding = _try_ivs(
            f"IVS in {name}", partial(_read_region, settings, store, control_plane, name, records), _is_local(settings)
        )
        if region is None:
            yield finding
            continue
        yield from _check_region(region, is_configured=name in regions)
        yield from _check_clock(control_plane, name)


def _try_ivs(check: str, call: Callable[[], _T], is_local: bool) -> tuple[_T | None, Finding]:
    """The response of IVS, or None and the failure as a finding."""
    try:
        return call(), Finding(True, check, "")
    except (ControlPlaneError, ForeignDeployment, SettingsError) as failure:
        return None, failure_finding(check, failure, _fix_of(failure, is_local))


def _is_local(settings: Settings) -> bool:
    return settings.control_plane == "local"


def _fix_of(error: TokensvcError, is_local: bool) -> str:
    """The fix for a failure that has no remedy of its own."""
    if isinstance(error, ForeignDeployment):
        return f"{SET_PROFILE}   (of the account that the message names; or use another store)"
    if isinstance(error, ControlPlaneDenied):
        return f"{SET_PROFILE}   (or export the credentials of a role that has this permission)"
    if isinstance(error, ControlPlaneThrottled):
        return f"{RUN_AGAIN}   (in a moment: other applications share the account's rate limits)"
    if isinstance(error, ControlPlaneUnavailable):
        if is_local:
            return "export AWS_ENDPOINT_URL_IVS=URL   (of the local IVS; check that it is running and reachable)"
        return (
            f"{RUN_AGAIN}   (in a moment; check that this host reaches AWS, and whether AWS reports an outage of IVS)"
        )
    return f"{RUN_AGAIN}   (again, after fixing what the message names)"


def _read_region(
    settings: Settings, store: Store, control_plane: AwsControlPlane, name: str, records: Sequence[KeyRecord]
) -> Region:
    deployment = store.deployment.read()
    pairs = {str(pair["arn"]): pair for pair in list_pairs(control_plane, name, deployment.account)}
    placements = {
        p.arn: p for record in records for p in record.placements if p.account_region.region == name and p.is_imported
    }

    def fingerprint(arn: str) -> str | None:
        pair = control_plane.call(name, "GetPlaybackKeyPair", {"arn": arn})["keyPair"]
        return str(pair["fingerprint"]) if "fingerprint" in pair else None

    by_id = {record.id: record for record in records}
    unreadable = frozenset(placement.arn for record in records for placement in record.unreadable)
    at = reference_time(settings, store)
    return Region(name, pairs, placements, by_id, unreadable, deployment.id, at, _is_local(settings), fingerprint)


def _check_region(region: Region, *, is_configured: bool) -> Iterator[Finding]:
    unrecorded = [arn for arn in region.pairs if arn not in region.placements and arn not in region.unreadable]
    others = sum(owner_tags(region.pairs[arn])[0] != region.deployment_id for arn in unrecorded)
    used = f"{len(region.pairs)} of {MAX_KEY_PAIRS} key slots used ({others} by other applications)"
    yield Finding(True, f"IVS in {region.name}", f"reachable; {used}")
    orphans = [arn for arn in unrecorded if _is_orphan(region, arn)]
    first = orphans if is_configured and not _can_sign(region) else []  # the next active key needs one of their slots
    for arn in first:
        yield _check_unrecorded_pair(region, arn)
    if is_configured:
        slots = partial(check_slots, region.name, len(unrecorded) - len(orphans))
        _, finding = try_check(
            f"slots in {region.name}", slots, _free_slot_command(region, [a for a in unrecorded if a not in orphans])
        )
        if not finding.ok:
            yield finding
        yield from _check_active_key(region)
    for arn in unrecorded:
        if arn not in first:
            yield _check_unrecorded_pair(region, arn)
    for placement in region.placements.values():
        yield from _check_recorded_pair(region, placement)


def _free_slot_command(region: Region, foreign: Sequence[str]) -> str:
    """The AWS command that deletes a foreign pair: tokensvc cannot know who uses it, and never deletes it itself."""
    if not foreign:
        return ROTATE
    others = f"; or one of {', '.join(foreign[1:])}" if foreign[1:] else ""
    command = f"aws ivs delete-playback-key-pair --region {region.name} --arn {foreign[0]}"
    return f"{command}   (if its tokens are no longer needed{others}; or use another account)"


def _check_active_key(region: Region) -> Iterator[Finding]:
    check, active = f"key in {region.name}", active_placement(list(region.placements.values()))
    if active is None:
        detail = "no key is active, so no token can be signed"
        yield (
            needs_reconcile(check, detail)
            if region.placements
            else Finding(False, check, detail, "tokensvc keys generate")
        )
        return
    if active.arn not in region.pairs:
        detail = f"{active.key_id} is active but not in IVS: every token is rejected"
        yield needs_reconcile(check, detail)
        return
    if is_compromised(region.pairs[active.arn]):
        detail = (
            f"{active.key_id} is active but tagged as compromised in IVS: the store was restored from an older backup"
        )
        yield needs_reconcile(check, detail)
        return
    max_age, since = region.at.policy.max_age_seconds, active.activated_at or active.imported_at
    age = (region.at.now - since).total_seconds()
    is_too_old = max_age is not None and age > max_age
    detail = f"{active.key_id} active for {format_duration(age)}"
    if is_too_old:
        detail = f"{detail}; the policy allows {count_of((max_age or 0) / 86_400, 'day')}"
    yield Finding(not is_too_old, check, detail, ROTATE)


def _can_sign(region: Region) -> bool:
    """Whether IVS has a key of ours that is or can become active, or a free slot for another one."""
    usable_states = {KeyState.ACTIVE, KeyState.PREPARED, KeyState.RETIRING}
    present = [p for arn, p in region.placements.items() if arn in region.pairs and p.state in usable_states]
    usable = [p for p in present if p.deleting_at is None and not is_compromised(region.pairs[p.arn])]
    return bool(usable) or len(region.pairs) < MAX_KEY_PAIRS


def _is_orphan(region: Region, arn: str) -> bool:
    """Whether a pair has our deployment's tag but names a key that is not in the store."""
    owner, key_id = owner_tags(region.pairs[arn])
    return owner == region.deployment_id and str(key_id) not in region.records


def _check_unrecorded_pair(region: Region, arn: str) -> Finding:
    """Check a pair in IVS that the store has no record of."""
    owner, key_id = owner_tags(region.pairs[arn])
    check, delete = f"key pair {arn}", f"tokensvc keys delete {arn}"
    if owner != region.deployment_id:
        origin = "not created by tokensvc" if owner is None else f"belongs to deployment {owner}"
        return Finding(True, check, f"{origin}; it is not touched")
    record = region.records.get(str(key_id))
    if is_compromised(region.pairs[arn]):
        return needs_reconcile(check, f"is compromised key {key_id}, and is still in IVS")
    if record is None:
        return Finding(False, check, f"is tagged as key {key_id}, which is not in the store", delete)
    if record.damage:
        return Finding(False, check, f"is key {key_id}, whose row cannot be read", FROM_BACKUP)
    placement = next((p for p in record.placements if p.account_region.region == region.name), None)
    if placement is not None and placement.arn == arn:
        return Finding(
            False,
            check,
            f"is key {key_id}, but is recorded as deleted",
            f"{delete}   (once its tokens are no longer needed)",
        )
    if placement is None or not placement.is_imported:
        return needs_reconcile(check, f"is key {key_id}, but its import was never recorded")
    return Finding(False, check, f"is tagged as key {key_id}, whose recorded pair is {placement.arn}", delete)


def _check_recorded_pair(region: Region, placement: KeyPlacement) -> Iterator[Finding]:
    """Check a pair that the store has a record of."""
    check = f"key {placement.key_id} in {region.name}"
    pair = region.pairs.get(placement.arn)
    if pair is None:
        if placement.state is not KeyState.ACTIVE and region.at.now - placement.imported_at > timedelta(
            seconds=GRACE_SECONDS
        ):
            yield needs_reconcile(check, f"is {placement.state} but no longer in IVS")
        return
    if placement.state is KeyState.COMPROMISED:
        yield needs_reconcile(check, "is compromised but still in IVS")
        return
    if owner_tags(pair) != (region.deployment_id, placement.key_id):
        fix = f"tokensvc keys adopt {placement.key_id} --arn {placement.arn}"
        yield Finding(False, check, f"{placement.arn} has lost tokensvc's tags", fix)
    shown, finding = _try_ivs(check, lambda: region.fingerprint(placement.arn) or "none", region.is_local)
    ours = region.records[placement.key_id].fingerprint
    if shown is None:
        yield finding
    elif shown not in ("none", ours) and not (
        placement.fingerprint_differs and placement.state is not KeyState.PREPARED
    ):
        activate, delete = (f"tokensvc keys {verb} {placement.key_id}" for verb in ("activate", "delete"))
        fix = f"{activate}   (if {placement.arn} is the right pair; else {delete})"
        yield Finding(False, check, f"the fingerprint in IVS is {shown}, ours is {ours}", fix)


def _check_clock(control_plane: AwsControlPlane, region: str) -> Iterator[Finding]:
    ahead = control_plane.clock_offset_seconds(region)
    if ahead is not None:
        is_close = abs(ahead) <= CLOCK_SKEW_SECONDS + DATE_RESOLUTION_SECONDS
        detail = f"within {max(1, math.ceil(abs(ahead)))} s of IVS in {region}"
        if not is_close:
            detail = f"{ahead:+.0f} s from IVS in {region}, which checks exp by its own clock"
        yield Finding(is_close, "clock", detail, "chronyc makestep   (or whatever sets this machine's clock)")
