"""Inventory of a region: what IVS holds there, compared with what the store records.

Invariants
- `take_inventory` only reads: it writes nothing to the store or the vault, and calls only List and Get operations of
  IVS. It remembers in this process's memory which pairs IVS reported as not found, so that IVS is not asked too often.
- `record_discoveries` writes to the store what IVS shows and the store does not know. `sync_inventory` calls it first
  and then takes the inventory.
- Our pairs in IVS are recognized by two tags, deployment and key. A pair without our deployment's tag is foreign: it is
  counted and never changed. A pair with our tag but an unknown key is reported as a problem and never changed either.
- An import that succeeded but was not recorded is recorded later, so a crash between the two leaves no orphan. It may
  also be an import that a restored store has lost, and its key may have signed since. The two cannot be distinguished
  (the journal is restored as well), so the pair is drained before it is deleted.
- A pair is absent if no list shows it and IVS responds that its ARN does not exist: lists may lag. The absence is
  confirmed when IVS has responded so twice (`absences.py`).
- Where IVS shows no pair of our account, the credentials may be for another account: nothing irreversible is done.
- The compromise tag overrides the store: a key whose pair has it is compromised, whatever the store says, since the
  store may be a restored one. A pair of ours that has the tag and is not recorded is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.deployment.record import Deployment
from tokensvc.errors import Action, ControlPlaneResourceMissing, ForeignDeployment, Remedy
from tokensvc.keys.context import KeysContext
from tokensvc.keys.lifecycle import (
    KeyPlacement,
    KeyRecord,
    KeyState,
    RegionState,
    active_placement,
    placements_in,
    was_activated_again,
)
from tokensvc.problems import Problem, ProblemCode

DEPLOYMENT_TAG = "tokensvc:deployment"
KEY_TAG = "tokensvc:key"
COMPROMISED_TAG = "tokensvc:compromised"
"""Its value is when the key was compromised. Set on a pair that could not be deleted immediately."""

GRACE_SECONDS = 60
"""How long a pair that was just imported may be missing from lists, and a private key that was just generated from the
vault: another process may be between two steps.

INFERRED: IVS's lists lag by at most 60 seconds behind an import. AWS does not document whether they lag at all.
"""

_NOT_IMPORTABLE = frozenset({KeyState.RETIRING, KeyState.RETIRED, KeyState.COMPROMISED})
_NEWEST_REQUESTS = 20
PlaybackKeyPair = Mapping[str, Any]


class RegionInventory(NamedTuple):
    """The inventory of one region."""

    region: str
    pairs: Sequence[PlaybackKeyPair]
    """All key pairs that IVS holds in the region, as ListPlaybackKeyPairs returns them."""
    region_state: RegionState
    problems: tuple[Problem, ...]
    """What an operator should look at."""
    deployment_id: str
    stray_pairs: tuple[tuple[str, str], ...] = ()
    """Compromised pairs of ours that are not recorded as imported, to be deleted: key id and ARN."""


def take_inventory(
    context: KeysContext,
    region: str,
    pairs: Sequence[PlaybackKeyPair] | None = None,
    *,
    configured: bool = True,
    account_verified: bool = False,
) -> RegionInventory:
    """Inspect a region without changing anything. An import or a compromise that is not recorded is a problem.

    Pass `pairs` if they were listed just now, and `account_verified` if another region showed our account. Raises
    ControlPlaneError, ForeignDeployment.
    """
    deployment = context.deployment.read()
    if pairs is None:
        pairs = list_pairs(context.control_plane, region, deployment.account)
    records, stored_ids = context.keys.list(), context.vault.key_ids()
    unrecorded, problems = _check_tagged_pairs(context, records, region, pairs, deployment.id)
    problems += tuple(
        Problem(ProblemCode.COMPROMISE_UNRECORDED, region, {"key_id": key.id})
        for key in _unrecorded_compromises(records, pairs, deployment.id)
    )
    problems += tuple(
        Problem(ProblemCode.IMPORT_UNRECORDED, region, {"key_id": key.id, "arn": str(pair["arn"])})
        for key, pair in unrecorded
    )
    placements = placements_in(records, region)
    imported, arns = [p for p in placements if p.is_imported], {str(pair["arn"]) for pair in pairs}
    account_verified = account_verified or _shows_our_account(records, region, pairs, deployment)
    absent, confirmed, recheck_at = _find_absent(context, imported, arns, account_verified=account_verified)
    damaged = _damaged_private_keys(context, records, region)
    unreadable = {p.arn: p for r in records for p in r.unreadable if p.account_region.region == region}
    region_state = RegionState(
        placements=placements,
        importable=_importable(records, stored_ids - damaged.keys(), region),
        foreign=len(arns - {p.arn for p in imported} - unreadable.keys()),
        to_replace=_to_replace(context, region, placements),
        absent_in_ivs=absent,
        confirmed_absent=confirmed,
        recheck_at=recheck_at,
        account_verified=account_verified,
        private_key_lost=frozenset(p.key_id for p in imported if p.key_id not in stored_ids or p.key_id in damaged),
        unreadable=frozenset(arn for arn, p in unreadable.items() if p.is_imported or arn in arns),
        configured=configured,
    )
    problems += tuple(
        Problem(ProblemCode.KEY_UNREADABLE, region, {"key_id": r.id, "reason": r.damage})
        for r in records
        if _concerns_region(r, region)
    )
    problems += tuple(_placement_problems(region_state, region, damaged))
    return RegionInventory(
        region=region,
        pairs=pairs,
        region_state=region_state,
        problems=problems,
        deployment_id=deployment.id,
        stray_pairs=_stray_pairs(records, pairs, deployment.id),
    )


def sync_inventory(
    context: KeysContext,
    region: str,
    pairs: Sequence[PlaybackKeyPair] | None = None,
    *,
    configured: bool = True,
    account_verified: bool = False,
) -> RegionInventory:
    """Record what IVS shows in a region and the store does not know, then take its inventory.

    The parameters are those of `take_inventory`. Raises ControlPlaneError, ForeignDeployment, ConcurrentModification,
    KeyNotFound.
    """
    if pairs is None:
        pairs = list_pairs(context.control_plane, region, context.deployment.read().account)
    record_discoveries(context, region, pairs)
    return take_inventory(context, region, pairs, configured=configured, account_verified=account_verified)


def record_discoveries(context: KeysContext, region: str, pairs: Sequence[PlaybackKeyPair]) -> None:
    """Record imports and compromises that these pairs show and the store does not know yet.

    Raises ControlPlaneError, ForeignDeployment, ConcurrentModification, KeyNotFound.
    """
    deployment_id, records = context.deployment.read().id, context.keys.list()
    if compromised := _unrecorded_compromises(records, pairs, deployment_id):
        records = _record_compromises(context, records, compromised, region, pairs)
    unrecorded, _ = _check_tagged_pairs(context, records, region, pairs, deployment_id)
    for key, pair in unrecorded:
        arn = str(pair["arn"])
        record_imported_pair(context, key, arn, get_pair(context, region, arn), may_have_signed=True)


def list_pairs(control_plane: ControlPlane, region: str, account: str | None) -> list[PlaybackKeyPair]:
    """All key pairs that IVS holds in a region. Raises ForeignDeployment if they belong to another account."""
    pairs: list[PlaybackKeyPair] = []
    request: dict[str, Any] = {}
    while True:
        response = control_plane.call(region, "ListPlaybackKeyPairs", request)
        pairs += response["keyPairs"]
        if not response.get("nextToken"):
            break
        request = {"nextToken": response["nextToken"]}
    if pairs and account and parse_arn(str(pairs[0]["arn"]), "playback-key").account_region.account != account:
        raise ForeignDeployment(
            f"this deployment's keys are in account {account}, but the AWS credentials are for another account"
        )
    return pairs


def get_pair(context: KeysContext, region: str, arn: str) -> PlaybackKeyPair:
    """One key pair from GetPlaybackKeyPair, which includes the fingerprint; ListPlaybackKeyPairs omits it."""
    pair: PlaybackKeyPair = context.control_plane.call(region, "GetPlaybackKeyPair", {"arn": arn})["keyPair"]
    return pair


def record_imported_pair(
    context: KeysContext, record: KeyRecord, arn: str, pair: PlaybackKeyPair, *, may_have_signed: bool = False
) -> None:
    """Record that IVS holds a key as this pair. If its fingerprint is not ours, an operator must check it.

    Pass `may_have_signed` if IVS held the pair before this request. Raises ForeignDeployment, ConcurrentModification,
    KeyNotFound.
    """
    fingerprint = str(pair.get("fingerprint", record.fingerprint))
    differs = fingerprint != record.fingerprint
    account_region = parse_arn(arn, "playback-key").account_region
    context.deployment.bind_account(account_region.account)
    context.keys.record_import(
        record.id, account_region, arn, context.now(), fingerprint_differs=differs, may_have_signed=may_have_signed
    )
    context.report(f"IVS holds key {record.id} in {account_region.region} as {arn}")
    if differs:
        context.report(
            f"IVS reports fingerprint {fingerprint} for key {record.id}, but ours is {record.fingerprint}. How IVS "
            "computes fingerprints is not documented: check that the key is right, then activate it"
        )


def owner_tags(pair: PlaybackKeyPair) -> tuple[str | None, str | None]:
    """The deployment id and key id in a pair's tags."""
    tags = pair.get("tags", {})
    return tags.get(DEPLOYMENT_TAG), tags.get(KEY_TAG)


def is_compromised(pair: PlaybackKeyPair) -> bool:
    """Whether a pair has the compromise tag."""
    return COMPROMISED_TAG in pair.get("tags", {})


def ownership(pair: PlaybackKeyPair, deployment_id: str) -> str:
    """`ours` or `foreign`, for lists of pairs."""
    return "ours" if owner_tags(pair)[0] == deployment_id else "foreign"


def _unrecorded_compromises(
    records: Sequence[KeyRecord], pairs: Sequence[PlaybackKeyPair], deployment_id: str
) -> list[KeyRecord]:
    """Keys whose pair is tagged as compromised although the store, restored from an earlier backup, does not say so."""
    tagged = {owner_tags(p)[1] for p in pairs if is_compromised(p) and owner_tags(p)[0] == deployment_id}
    return [record for record in records if record.id in tagged and record.compromised_at is None]


def _record_compromises(
    context: KeysContext,
    records: Sequence[KeyRecord],
    compromised: Sequence[KeyRecord],
    region: str,
    pairs: Sequence[PlaybackKeyPair],
) -> list[KeyRecord]:
    arns = {str(pair["arn"]) for pair in pairs}
    unlisted = {p.key_id for p in placements_in(records, region) if p.arn not in arns}
    unable = unlisted | {r.id for r in records if context.private_keys.is_known_damaged(r.id)}
    unable |= {r.id for r in records} - context.vault.key_ids()
    propagation_seconds = context.deployment.read().key_propagation_seconds
    for record in compromised:
        context.keys.compromise(
            record.id,
            context.now(),
            propagation_seconds,
            include_standby=False,
            unable=unable,
            others_may_have_signed=True,
            event=context.requester.event("keys.compromise", record.id, details={"reason": f"tagged in {region}"}),
        )
        context.report(f"key {record.id} is compromised: its pair in {region} is tagged as compromised")
    return context.keys.list()


def _stray_pairs(
    records: Sequence[KeyRecord], pairs: Sequence[PlaybackKeyPair], deployment_id: str
) -> tuple[tuple[str, str], ...]:
    records_by_id = {record.id: record for record in records}
    recorded = {p.arn for record in records for p in record.placements if p.is_imported}
    recorded |= {p.arn for record in records for p in record.unreadable}
    ours = [
        (str(owner_tags(pair)[1]), pair)
        for pair in pairs
        if owner_tags(pair)[0] == deployment_id and str(pair["arn"]) not in recorded
    ]
    return tuple(
        (key_id, str(pair["arn"]))
        for key_id, pair in ours
        if is_compromised(pair) or (key_id in records_by_id and records_by_id[key_id].compromised_at is not None)
    )


def _shows_our_account(
    records: Sequence[KeyRecord], region: str, pairs: Sequence[PlaybackKeyPair], deployment: Deployment
) -> bool:
    """Whether a list proves that the credentials are for the account that holds our keys.

    With AWS, any pair in that account proves it. All local IVSs have the same account, so only a pair of ours proves
    that this is the right one.
    """
    account_region = AccountRegion(str(deployment.account), region)
    if all(parse_arn(str(pair["arn"]), "playback-key").account_region != account_region for pair in pairs):
        return False
    if deployment.control_plane != "local":
        return True
    known = {placement.arn for record in records for placement in record.placements}
    return any(owner_tags(pair)[0] == deployment.id or str(pair["arn"]) in known for pair in pairs)


def _check_tagged_pairs(
    context: KeysContext,
    records: Sequence[KeyRecord],
    region: str,
    pairs: Sequence[PlaybackKeyPair],
    deployment_id: str,
) -> tuple[list[tuple[KeyRecord, PlaybackKeyPair]], tuple[Problem, ...]]:
    """Imports that are not recorded, and problems with pairs that have our tag."""
    records_by_id = {record.id: record for record in records}
    placements_by_arn = {p.arn: p for record in records for p in record.all_placements}
    unrecorded: list[tuple[KeyRecord, PlaybackKeyPair]] = []
    problems: list[Problem] = []
    for pair in pairs:
        (owner, key_id), arn = owner_tags(pair), str(pair["arn"])
        if owner != deployment_id:
            continue
        if arn in placements_by_arn:
            placement = placements_by_arn[arn]
            retired_at = placement.retired_at if isinstance(placement, KeyPlacement) else None
            if retired_at is not None and context.now() - retired_at > timedelta(seconds=GRACE_SECONDS):
                subject = {"key_id": placement.key_id, "arn": arn}
                remedy = Remedy(Action.DELETE_KEY_PAIR, subject)
                problems.append(Problem(ProblemCode.DELETED_KEY_PAIR_IN_IVS, region, subject, remedy))
            continue
        record = records_by_id.get(str(key_id))
        if record is None:
            if is_compromised(pair):
                continue  # a stray pair, which is deleted
            subject = {"key_id": str(key_id), "arn": arn}
            problems.append(Problem(ProblemCode.KEY_PAIR_OF_UNKNOWN_KEY, region, subject))
            continue
        recorded = next((p for p in record.placements if p.account_region.region == region), None)
        if record.damage:
            subject = {"key_id": record.id, "arn": arn, "reason": record.damage}
            problems.append(Problem(ProblemCode.KEY_PAIR_OF_UNREADABLE_KEY, region, subject))
        elif recorded is None or not recorded.is_imported:
            unrecorded.append((record, pair))
        else:
            subject = {"key_id": record.id, "arn": arn, "recorded_arn": recorded.arn}
            problems.append(Problem(ProblemCode.SECOND_KEY_PAIR, region, subject))
    return unrecorded, tuple(problems)


def _importable(records: Sequence[KeyRecord], usable_ids: frozenset[str], region: str) -> list[str]:
    """Keys that may be imported in a region, oldest first: those without placements, and those in use elsewhere that
    are newer than the active key of this region. (A creation date alone never makes a key count as too old: clocks
    differ, and a new key would be generated again and again.)"""
    active = active_placement(placements_in(records, region))
    active_created_at = next((r.created_at for r in records if active is not None and r.id == active.key_id), None)
    return [
        record.id
        for record in records
        if record.id in usable_ids
        and record.compromised_at is None
        and not record.damage
        and _may_be_imported(record, region)
        and (not record.placements or active_created_at is None or record.created_at > active_created_at)
    ]


def _concerns_region(record: KeyRecord, region: str) -> bool:
    """Whether a record that cannot be read has a placement in this region, or unknown placements."""
    return any(p.account_region.region == region for p in record.unreadable) or (
        bool(record.damage) and not record.unreadable
    )


def _to_replace(context: KeysContext, region: str, placements: Sequence[KeyPlacement]) -> frozenset[str]:
    by_key = {placement.key_id: placement for placement in placements}
    return frozenset(
        key_id
        for request in context.rotation_requests.newest(_NEWEST_REQUESTS)
        if (key_id := request.previous_key_ids.get(region)) is not None
        and not (key_id in by_key and was_activated_again(by_key[key_id], request.requested_at))
    )


def _find_absent(
    context: KeysContext, imported: Sequence[KeyPlacement], arns: Collection[str], *, account_verified: bool
) -> tuple[frozenset[str], frozenset[str], datetime | None]:
    """Keys recorded as imported that IVS reports as not found, those of them that are confirmed, and when the next
    response may confirm another."""
    absences, delay = context.absences, timedelta(seconds=context.deployment.read().key_propagation_seconds)
    absent, confirmed, recheck_times = set(), set(), []
    for placement in imported:
        if placement.arn in arns:
            absences.record_present(placement.arn)
        elif (not delay or context.now() - placement.imported_at >= delay) and not _is_in_ivs(
            context, placement, account_verified=account_verified
        ):
            absent.add(placement.key_id)
            if account_verified and absences.is_confirmed(placement.arn):
                confirmed.add(placement.key_id)
            elif account_verified:
                recheck_times.append(absences.recheck_at(placement.arn, context.clock.monotonic(), context.now()))
    return frozenset(absent), frozenset(confirmed), min(recheck_times, default=None)


def _is_in_ivs(context: KeysContext, placement: KeyPlacement, *, account_verified: bool) -> bool:
    """Whether IVS holds a pair that no list shows, according to its response now or a moment ago."""
    if not context.absences.should_ask(placement.arn, context.clock.monotonic(), account_verified=account_verified):
        return False
    try:
        get_pair(context, placement.account_region.region, placement.arn)
    except ControlPlaneResourceMissing:
        context.absences.record_absent(placement.arn, context.clock.monotonic(), account_verified=account_verified)
        return False
    context.absences.record_present(placement.arn)
    return True


def _damaged_private_keys(context: KeysContext, records: Sequence[KeyRecord], region: str) -> dict[str, str]:
    """Of the keys that are imported in the region or may be, those whose private key cannot sign, and the reason."""
    relevant = [
        record
        for record in records
        if record.compromised_at is None
        and not record.damage  # the public key in a damaged row may be wrong
        and (
            any(p.is_imported and p.account_region.region == region for p in record.placements)
            or _may_be_imported(record, region)
        )
    ]
    return {record.id: damage for record in relevant if (damage := context.damage(record))}


def _may_be_imported(record: KeyRecord, region: str) -> bool:
    """Whether a key was never in the region, and is not being phased out in any other."""
    return not any(p.account_region.region == region or p.state in _NOT_IMPORTABLE for p in record.placements)


def _placement_problems(region_state: RegionState, region: str, damaged: Mapping[str, str]) -> list[Problem]:
    lost = [
        Problem(ProblemCode.PRIVATE_KEY_DAMAGED, region, {"key_id": key_id, "reason": damaged[key_id]})
        if key_id in damaged
        else Problem(ProblemCode.PRIVATE_KEY_MISSING, region, {"key_id": key_id})
        for key_id in sorted(region_state.private_key_lost)
    ]
    absent = [
        Problem(ProblemCode.KEY_NOT_IN_IVS, region, {"key_id": key_id}) for key_id in sorted(region_state.absent_in_ivs)
    ]
    differing = [
        Problem(
            ProblemCode.FINGERPRINT_DIFFERS,
            region,
            {"key_id": p.key_id, "arn": p.arn},
            Remedy(Action.ACTIVATE_KEY, {"key_id": p.key_id, "arn": p.arn}),
        )
        for p in region_state.placements
        if p.is_imported and p.fingerprint_differs and p.state is KeyState.PREPARED
    ]
    return lost + absent + differing
