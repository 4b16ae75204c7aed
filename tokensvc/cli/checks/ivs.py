"""What `tokensvc doctor` finds in IVS, region by region: what it holds, set beside what the store knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar

from tokensvc.aws.ivs import AwsControlPlane
from tokensvc.cli.checks.finding import Finding, try_check, failure_finding, needs_reconcile
from tokensvc.cli.checks.rows import FROM_BACKUP
from tokensvc.cli.keys.context import reference_time
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.container import service
from tokensvc.errors import (
    ControlPlaneError,
    ControlPlaneDenied,
    ForeignDeployment,
    SettingsError,
    ControlPlaneThrottled,
    TokensvcError,
    ControlPlaneUnavailable,
)
from tokensvc.keys.inventory import GRACE_SECONDS, PlaybackKeyPair, is_compromised, list_pairs, owner_tags
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, active_placement
from tokensvc.keys.rotation_policy import KEY_PAIRS_MAX, check_slots
from tokensvc.keys.views import ReferenceTime
from tokensvc.settings import Settings
from tokensvc.storage.store import Store

ROTATE = "tokensvc keys rotate"
UNSET_ENDPOINT = "unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_IVS   (and correct what the message names)"
RUN_AGAIN = "tokensvc doctor"
SET_PROFILE = "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN; export AWS_PROFILE=PROFILE"
"""boto3 looks at the first three before any profile."""
_T = TypeVar("_T")
DATE_RESOLUTION_SECONDS = 1
"""A `Date` header has whole seconds."""


class Region(NamedTuple):
    """A region as IVS shows it and as the store knows it."""

    name: str
    pairs: Mapping[str, PlaybackKeyPair]
    """What IVS holds, by ARN."""
    placements: Mapping[str, KeyPlacement]
    """What the store knows to be held there, by ARN."""
    records: Mapping[str, KeyRecord]
    """Every key, by its id."""
    unreadable: frozenset[str]
    """ARNs of pairs of ours whose rows cannot be read; what is found of them is said among the store's rows."""
    deployment_id: str
    at: ReferenceTime
    fingerprint: Callable[[str], str | None]
    """As IVS shows it for an ARN. Raises ControlPlaneError."""


def check_ivs(settings: Settings, store: Store) -> Iterator[Finding]:
    """Look at it; nothing is changed, neither there nor in the store."""
    records = store.keys.list()
    held = {placement.account_region.region for record in records for placement in record.all_placements if placement.is_imported}
    named = f"export TOKENSVC_REGIONS={','.join(sorted(held)) or 'us-east-1'}   (or boto3's AWS_REGION)"
    regions, finding = try_check("regions", lambda: service.configured_regions(settings), named)
    if regions is None:
        yield finding
        return
    control_plane, finding = try_check("IVS", lambda: service.make_control_plane(settings), UNSET_ENDPOINT)
    if control_plane is None:
        yield finding
        return
    for name in [*regions, *sorted(held - set(regions))]:
        region, finding = _try_ivs(f"IVS in {name}", partial(_read_region, settings, store, control_plane, name, records))
        if region is None:
            yield finding
            continue
        yield from _check_region(region, wanted=name in regions)
        yield from _check_clock(control_plane, name)


def _try_ivs(check: str, ask: Callable[[], _T]) -> tuple[_T | None, Finding]:
    """What IVS answers, or None and why it did not, with what ends that."""
    try:
        return ask(), Finding(True, check, "")
    except (ControlPlaneError, ForeignDeployment, SettingsError) as failure:
        return None, failure_finding(check, failure, _fix_of(failure))


def _fix_of(error: TokensvcError) -> str:
    """What ends a failure that has no remedy of its own."""
    if isinstance(error, ForeignDeployment):
        return f"{SET_PROFILE}   (of the account that the message names; or use another store)"
    if isinstance(error, ControlPlaneDenied):
        return f"{SET_PROFILE}   (or export the first two: the credentials of a role that may do this)"
    if isinstance(error, ControlPlaneThrottled):
        return f"{RUN_AGAIN}   (in a moment; others use the account's call rate too)"
    if isinstance(error, ControlPlaneUnavailable):
        return (
            "export AWS_ENDPOINT_URL_IVS=URL   (of the local IVS, or unset it for AWS; see that its host is reachable)"
        )
    return f"{RUN_AGAIN}   (when what the message says has ended)"


def _read_region(
    settings: Settings, store: Store, control_plane: AwsControlPlane, name: str, records: Sequence[KeyRecord]
) -> Region:
    deployment = store.deployment.read()
    pairs = {str(pair["arn"]): pair for pair in list_pairs(control_plane, name, deployment.account)}
    places = {p.arn: p for record in records for p in record.placements if p.account_region.region == name and p.is_imported}

    def fingerprint(arn: str) -> str | None:
        pair = control_plane.call(name, "GetPlaybackKeyPair", {"arn": arn})["keyPair"]
        return str(pair["fingerprint"]) if "fingerprint" in pair else None

    known = {record.id: record for record in records}
    unreadable = frozenset(placement.arn for record in records for placement in record.unreadable)
    return Region(name, pairs, places, known, unreadable, deployment.id, reference_time(settings, store), fingerprint)


def _check_region(region: Region, *, wanted: bool) -> Iterator[Finding]:
    foreign = [arn for arn in region.pairs if arn not in region.placements and arn not in region.unreadable]
    detail = f"answers; {len(region.pairs)} of {KEY_PAIRS_MAX} key slots used, {len(foreign)} of them not by us"
    yield Finding(True, f"IVS in {region.name}", detail)
    orphans = [arn for arn in foreign if _is_orphan(region, arn)]
    first = orphans if wanted and not _can_sign(region) else []  # whatever signs next needs one of their slots
    for arn in first:
        yield _check_unrecorded_pair(region, arn)
    if wanted:
        slots = partial(check_slots, region.name, len(foreign) - len(orphans))
        _, finding = try_check(
            f"slots in {region.name}", slots, _free_slot_command(region, [a for a in foreign if a not in orphans])
        )
        if not finding.ok:
            yield finding
        yield from _check_active_key(region)
    for arn in foreign:
        if arn not in first:
            yield _check_unrecorded_pair(region, arn)
    for placement in region.placements.values():
        yield from _check_recorded_pair(region, placement)


def _free_slot_command(region: Region, foreign: Sequence[str]) -> str:
    """The command that deletes a pair that is not ours: whose it is, tokensvc cannot know, and never deletes it."""
    if not foreign:
        return ROTATE
    others = f"; or one of {', '.join(foreign[1:])}" if foreign[1:] else ""
    command = f"aws ivs delete-playback-key-pair --region {region.name} --arn {foreign[0]}"
    return f"{command}   (if nobody needs its tokens{others}; or use another account)"


def _check_active_key(region: Region) -> Iterator[Finding]:
    check, active = f"key in {region.name}", active_placement(list(region.placements.values()))
    if active is None:
        detail = "none is active, so no token can be signed"
        yield needs_reconcile(check, detail) if region.placements else Finding(False, check, detail, "tokensvc keys generate")
        return
    if active.arn not in region.pairs:
        detail = f"{active.key_id} signs and IVS does not hold it: every token is refused"
        yield needs_reconcile(check, detail)
        return
    if is_compromised(region.pairs[active.arn]):
        detail = f"{active.key_id} signs and its pair is tagged as compromised: the store was restored from before that"
        yield needs_reconcile(check, detail)
        return
    most, since = region.at.policy.max_age_seconds, active.activated_at or active.imported_at
    days = (region.at.now - since) / timedelta(days=1)
    too_old = most is not None and days * 86_400 > most
    told = f"{active.key_id} signs, since {days:.1f} days"
    yield Finding(not too_old, check, f"{told}; the policy allows {(most or 0) / 86_400:g}" if too_old else told, ROTATE)


def _can_sign(region: Region) -> bool:
    """Whether IVS holds a key of ours that signs or can take over, or has room for another."""
    fit = {KeyState.ACTIVE, KeyState.PREPARED, KeyState.RETIRING}
    shown = [placement for arn, placement in region.placements.items() if arn in region.pairs and placement.state in fit]
    usable = [p for p in shown if p.deleting_at is None and not is_compromised(region.pairs[p.arn])]
    return bool(usable) or len(region.pairs) < KEY_PAIRS_MAX


def _is_orphan(region: Region, arn: str) -> bool:
    """Whether a pair bears our tag for a key that the store does not know."""
    owner, key_id = owner_tags(region.pairs[arn])
    return owner == region.deployment_id and str(key_id) not in region.records


def _check_unrecorded_pair(region: Region, arn: str) -> Finding:
    """A pair that the store does not know there."""
    owner, key_id = owner_tags(region.pairs[arn])
    check, delete = f"key pair {arn}", f"tokensvc keys delete {arn}"
    if owner != region.deployment_id:
        whose = "has no tag of ours" if owner is None else f"is deployment {owner}'s"
        return Finding(True, check, f"{whose}; it is left alone")
    record = region.records.get(str(key_id))
    if is_compromised(region.pairs[arn]):
        return needs_reconcile(check, f"is key {key_id}, which is compromised, and IVS holds it still")
    if record is None:
        return Finding(False, check, f"bears our tag for key {key_id}, which the store does not know", delete)
    if record.damage:
        return Finding(False, check, f"is key {key_id}, which cannot be read", FROM_BACKUP)
    placement = next((p for p in record.placements if p.account_region.region == region.name), None)
    if placement is not None and placement.arn == arn:
        return Finding(
            False,
            check,
            f"is key {key_id}, and is recorded as gone",
            f"{delete}   (when none of its tokens is needed)",
        )
    if placement is None or not placement.is_imported:
        return needs_reconcile(check, f"is key {key_id}, and nobody noted that it was imported")
    return Finding(False, check, f"bears our tag for key {key_id}, which the store knows as {placement.arn}", delete)


def _check_recorded_pair(region: Region, placement: KeyPlacement) -> Iterator[Finding]:
    """A pair that the store knows there."""
    check = f"key {placement.key_id} in {region.name}"
    pair = region.pairs.get(placement.arn)
    if pair is None:
        if placement.state is not KeyState.ACTIVE and region.at.now - placement.imported_at > timedelta(
            seconds=GRACE_SECONDS
        ):
            yield needs_reconcile(check, f"is {placement.state}, and IVS does not hold it any more")
        return
    if placement.state is KeyState.COMPROMISED:
        yield needs_reconcile(check, "is compromised, and IVS holds it still")
        return
    if owner_tags(pair) != (region.deployment_id, placement.key_id):
        fix = f"tokensvc keys adopt {placement.key_id} --arn {placement.arn}"
        yield Finding(False, check, f"IVS shows {placement.arn} without our tags", fix)
    shown, finding = _try_ivs(check, lambda: region.fingerprint(placement.arn) or "none")
    ours = region.records[placement.key_id].fingerprint
    if shown is None:
        yield finding
    elif shown not in ("none", ours) and not (placement.fingerprint_differs and placement.state is not KeyState.PREPARED):
        activate, delete = (f"tokensvc keys {verb} {placement.key_id}" for verb in ("activate", "delete"))
        fix = f"{activate}   (if {placement.arn} is the right pair; else {delete})"
        yield Finding(False, check, f"IVS shows the fingerprint {shown}, and ours is {ours}", fix)


def _check_clock(control_plane: AwsControlPlane, region: str) -> Iterator[Finding]:
    ahead = control_plane.clock_offset_seconds(region)
    if ahead is not None:
        detail = f"{ahead:+.0f} seconds from IVS's in {region}; a token's exp is judged by IVS's"
        well = abs(ahead) <= CLOCK_SKEW_SECONDS + DATE_RESOLUTION_SECONDS
        yield Finding(well, "this machine's clock", detail, "chronyc makestep   (or whatever keeps this machine's time)")
