"""How things stand in a region: what IVS holds there, set beside what the store knows.

Invariants
- `take_inventory` reads: it writes nothing to the store or the vault, and calls only List and Get operations of IVS. It
  remembers, in this process's memory, what IVS answered about missing pairs, so that IVS is not asked too often.
- `record_discoveries` writes to the store what IVS shows and the store does not know. `sync_inventory` does that first,
  and then surveys.
- What IVS holds is known again by our two tags, deployment and key. A pair without our deployment's tag is foreign:
  counted, never touched. Our tag with a key that the store does not know is a finding, never touched either.
- An import that happened and was not recorded is recorded by an update, so a crash between the two leaves no orphan.
  It may also be one that a restored store has forgotten, whose key has signed since. Nothing distinguishes the two (the
  journal is restored as well), so the pair is drained before it is deleted.
- A pair is missing when no list shows it and IVS says that there is none of its ARN: lists may lag. It is gone when IVS
  says so twice (`absences.py`).
- Where IVS shows no pair of our account, we may be asking about another one: nothing is done there that cannot be
  undone.
- The tag of a compromise is the truth: a key whose pair bears it is compromised, whatever the store says, for the store
  may be a restored one. A pair of ours that bears it and is not recorded is deleted.
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
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, RegionState, active_placement
from tokensvc.problems import Problem, ProblemCode

DEPLOYMENT_TAG = "tokensvc:deployment"
KEY_TAG = "tokensvc:key"
COMPROMISED_TAG = "tokensvc:compromised"
"""When the pair's key was compromised; set where the pair could not be deleted at once."""

GRACE_SECONDS = 60
"""How long a pair that was just imported may be absent from lists, and a private half that was just made from the
vault: IVS's lists may lag (not documented), and another process may be between two steps."""

_USED = frozenset({KeyState.RETIRING, KeyState.RETIRED, KeyState.COMPROMISED})
_WISHES = 20
PlaybackKeyPair = Mapping[str, Any]


class RegionInventory(NamedTuple):
    """One look at a region."""

    region: str
    pairs: Sequence[PlaybackKeyPair]
    """Everything that IVS holds there, as ListPlaybackKeyPairs shows it."""
    region_state: RegionState
    problems: tuple[Problem, ...]
    """What an operator should look at."""
    deployment_id: str
    stray_pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of ours that are compromised and not recorded as held: the key's id and the ARN. They are to be deleted."""


def take_inventory(
    context: KeysContext,
    region: str,
    pairs: Sequence[PlaybackKeyPair] | None = None,
    *,
    configured: bool = True,
    account_verified: bool = False,
) -> RegionInventory:
    """Look at a region and change nothing: an import that is not recorded is a finding, and so is a compromise.

    `pairs` when they were listed a moment ago, `account_verified` when another region showed our account. Raises
    ControlPlaneError, ForeignDeployment.
    """
    deployment = context.deployment.read()
    if pairs is None:
        pairs = list_pairs(context.control_plane, region, deployment.account)
    records, kept = context.keys.list(), context.vault.key_ids()
    unrecorded, findings = _tagged(context, records, region, pairs, deployment.id)
    findings += tuple(
        Problem(ProblemCode.COMPROMISE_UNRECORDED, region, {"key_id": key.id})
        for key in _compromised_in_ivs(records, pairs, deployment.id)
    )
    findings += tuple(
        Problem(ProblemCode.IMPORT_UNRECORDED, region, {"key_id": key.id, "arn": str(pair["arn"])})
        for key, pair in unrecorded
    )
    ours = [
        placement for record in records for placement in record.placements if placement.account_region.region == region
    ]
    held, arns = {p.arn for p in ours if p.is_imported}, {str(pair["arn"]) for pair in pairs}
    account_verified = account_verified or _shows_our_account(records, region, pairs, deployment)
    missing, gone, recheck_at = _missing(
        context, [p for p in ours if p.is_imported], arns, account_verified=account_verified
    )
    damaged = _damaged(context, records, region)
    unreadable = {p.arn: p for r in records for p in r.unreadable if p.account_region.region == region}
    standing = RegionState(
        placements=ours,
        importable=_spare(records, kept - damaged.keys(), region),
        foreign=len(arns - held - unreadable.keys()),
        to_replace=_to_replace(context, region),
        absent_in_ivs=missing,
        confirmed_absent=gone,
        recheck_at=recheck_at,
        account_verified=account_verified,
        private_key_lost=frozenset(
            p.key_id for p in ours if p.is_imported and (p.key_id not in kept or p.key_id in damaged)
        ),
        unreadable=frozenset(arn for arn, p in unreadable.items() if p.is_imported or arn in arns),
        configured=configured,
    )
    findings += tuple(
        Problem(ProblemCode.KEY_UNREADABLE, region, {"key_id": r.id, "reason": r.damage})
        for r in records
        if _is_here(r, region)
    )
    findings += tuple(_strange(standing, region, damaged))
    strays = _strays(records, pairs, deployment.id)
    return RegionInventory(
        region=region,
        pairs=pairs,
        region_state=standing,
        problems=findings,
        deployment_id=deployment.id,
        stray_pairs=strays,
    )


def sync_inventory(
    context: KeysContext,
    region: str,
    pairs: Sequence[PlaybackKeyPair] | None = None,
    *,
    configured: bool = True,
    account_verified: bool = False,
) -> RegionInventory:
    """Record what IVS shows in a region and the store does not know, then survey it. Parameters as in `take_inventory`.

    Raises ControlPlaneError, ForeignDeployment, ConcurrentModification, KeyNotFound.
    """
    if pairs is None:
        pairs = list_pairs(context.control_plane, region, context.deployment.read().account)
    record_discoveries(context, region, pairs)
    return take_inventory(context, region, pairs, configured=configured, account_verified=account_verified)


def record_discoveries(context: KeysContext, region: str, pairs: Sequence[PlaybackKeyPair]) -> None:
    """Record imports and compromises that these pairs show and the store does not know.

    Raises ControlPlaneError, ForeignDeployment, ConcurrentModification, KeyNotFound.
    """
    deployment_id, records = context.deployment.read().id, context.keys.list()
    if compromised := _compromised_in_ivs(records, pairs, deployment_id):
        records = _record_compromises(context, records, compromised, region, pairs)
    unrecorded, _ = _tagged(context, records, region, pairs, deployment_id)
    for key, pair in unrecorded:
        shown = get_pair(context, region, str(pair["arn"]))
        record_imported_pair(context, key, str(pair["arn"]), shown, may_have_signed=True)


def list_pairs(control_plane: ControlPlane, region: str, account: str | None) -> list[PlaybackKeyPair]:
    """All key pairs that IVS holds there. Raises ForeignDeployment when they are of another account than this one."""
    pairs: list[PlaybackKeyPair] = []
    request: dict[str, Any] = {}
    while True:
        answer = control_plane.call(region, "ListPlaybackKeyPairs", request)
        pairs += answer["keyPairs"]
        if not answer.get("nextToken"):
            break
        request = {"nextToken": answer["nextToken"]}
    if pairs and account and parse_arn(str(pairs[0]["arn"]), "playback-key").account_region.account != account:
        raise ForeignDeployment(
            f"this deployment's keys live in account {account}, and these credentials are of another"
        )
    return pairs


def get_pair(context: KeysContext, region: str, arn: str) -> PlaybackKeyPair:
    """One key pair as GetPlaybackKeyPair shows it: with its fingerprint, which lists do not show."""
    pair: PlaybackKeyPair = context.control_plane.call(region, "GetPlaybackKeyPair", {"arn": arn})["keyPair"]
    return pair


def record_imported_pair(
    context: KeysContext, record: KeyRecord, arn: str, pair: PlaybackKeyPair, *, may_have_signed: bool = False
) -> None:
    """Note that IVS holds a key as this pair; one whose fingerprint is not ours waits for somebody to look.

    `may_have_signed` where IVS held it before it was asked for now. Raises ForeignDeployment, ConcurrentModification,
    KeyNotFound.
    """
    shown = str(pair.get("fingerprint", record.fingerprint))
    differs = shown != record.fingerprint
    place = parse_arn(arn, "playback-key").account_region
    context.deployment.bind_account(place.account)
    context.keys.record_import(
        record.id, place, arn, context.now(), fingerprint_differs=differs, may_have_signed=may_have_signed
    )
    context.report(f"IVS holds key {record.id} in {place.region} as {arn}")
    if differs:
        context.report(
            f"IVS shows the fingerprint {shown} and ours is {record.fingerprint}. How IVS makes one is not "
            f"documented: look, and activate key {record.id} if it is right"
        )


def owner_tags(pair: PlaybackKeyPair) -> tuple[str | None, str | None]:
    """Whose a pair is: deployment and key, as its tags say."""
    tags = pair.get("tags", {})
    return tags.get(DEPLOYMENT_TAG), tags.get(KEY_TAG)


def is_compromised(pair: PlaybackKeyPair) -> bool:
    """Whether a pair is tagged as compromised."""
    return COMPROMISED_TAG in pair.get("tags", {})


def ownership(pair: PlaybackKeyPair, deployment_id: str) -> str:
    """Whose a pair is, in one word for a list."""
    return "ours" if owner_tags(pair)[0] == deployment_id else "foreign"


def _compromised_in_ivs(
    records: Sequence[KeyRecord], pairs: Sequence[PlaybackKeyPair], deployment_id: str
) -> list[KeyRecord]:
    """Keys that a tag says are compromised, and the store does not: it was restored from before that."""
    tagged = {owner_tags(p)[1] for p in pairs if is_compromised(p) and owner_tags(p)[0] == deployment_id}
    return [record for record in records if record.id in tagged and record.compromised_at is None]


def _record_compromises(
    context: KeysContext,
    records: Sequence[KeyRecord],
    bad: Sequence[KeyRecord],
    region: str,
    pairs: Sequence[PlaybackKeyPair],
) -> list[KeyRecord]:
    arns = {str(pair["arn"]) for pair in pairs}
    unlisted = {
        p.key_id
        for record in records
        for p in record.placements
        if p.account_region.region == region and p.arn not in arns
    }
    unable = unlisted | {r.id for r in records if context.private_keys.is_known_damaged(r.id)}
    unable |= {r.id for r in records} - context.vault.key_ids()
    propagation_seconds = context.deployment.read().key_propagation_seconds
    for record in bad:
        context.keys.compromise(
            record.id,
            context.now(),
            propagation_seconds,
            include_standby=False,
            unable=unable,
            others_may_have_signed=True,
        )
        context.report(f"key {record.id} is compromised: its pair in {region} is tagged so")
    return context.keys.list()


def _strays(
    records: Sequence[KeyRecord], pairs: Sequence[PlaybackKeyPair], deployment_id: str
) -> tuple[tuple[str, str], ...]:
    known = {record.id: record for record in records}
    held = {placement.arn for record in records for placement in record.placements if placement.is_imported}
    held |= {placement.arn for record in records for placement in record.unreadable}
    ours = [
        (str(owner_tags(p)[1]), p) for p in pairs if owner_tags(p)[0] == deployment_id and str(p["arn"]) not in held
    ]
    bad = [
        (key_id, str(p["arn"]))
        for key_id, p in ours
        if is_compromised(p) or (key_id in known and known[key_id].compromised_at is not None)
    ]
    return tuple(bad)


def _shows_our_account(
    records: Sequence[KeyRecord], region: str, pairs: Sequence[PlaybackKeyPair], deployment: Deployment
) -> bool:
    """Whether a list proves that IVS answers for the account that our keys live in, in this region.

    An account of AWS is proven by any pair in it. Each local IVS has the same account, so that only a pair of ours
    proves that it is the right one.
    """
    place = AccountRegion(str(deployment.account), region)
    if all(parse_arn(str(pair["arn"]), "playback-key").account_region != place for pair in pairs):
        return False
    if deployment.control_plane != "local":
        return True
    known = {placement.arn for record in records for placement in record.placements}
    return any(owner_tags(pair)[0] == deployment.id or str(pair["arn"]) in known for pair in pairs)


def _tagged(
    context: KeysContext,
    records: Sequence[KeyRecord],
    region: str,
    pairs: Sequence[PlaybackKeyPair],
    deployment_id: str,
) -> tuple[list[tuple[KeyRecord, PlaybackKeyPair]], tuple[Problem, ...]]:
    """Imports that were not recorded, and what bears our tag and does not fit."""
    known = {record.id: record for record in records}
    noted = {placement.arn: placement for record in records for placement in record.all_placements}
    unrecorded: list[tuple[KeyRecord, PlaybackKeyPair]] = []
    findings: list[Problem] = []
    for pair in pairs:
        (owner, key_id), arn = owner_tags(pair), str(pair["arn"])
        if owner != deployment_id:
            continue
        if arn in noted:
            placement = noted[arn]
            retired_at = placement.retired_at if isinstance(placement, KeyPlacement) else None
            if retired_at is not None and context.now() - retired_at > timedelta(seconds=GRACE_SECONDS):
                subject = {"key_id": placement.key_id, "arn": arn}
                remedy = Remedy(Action.DELETE_KEY_PAIR, subject)
                findings.append(Problem(ProblemCode.DELETED_KEY_PAIR_IN_IVS, region, subject, remedy))
            continue
        record = known.get(str(key_id))
        if record is None:
            if is_compromised(pair):
                continue  # it is deleted
            subject = {"key_id": str(key_id), "arn": arn}
            findings.append(Problem(ProblemCode.KEY_PAIR_OF_UNKNOWN_KEY, region, subject))
            continue
        here = next((p for p in record.placements if p.account_region.region == region), None)
        if record.damage:
            subject = {"key_id": record.id, "arn": arn, "reason": record.damage}
            findings.append(Problem(ProblemCode.KEY_PAIR_OF_UNREADABLE_KEY, region, subject))
        elif here is None or not here.is_imported:
            unrecorded.append((record, pair))
        else:
            subject = {"key_id": record.id, "arn": arn, "recorded_arn": here.arn}
            findings.append(Problem(ProblemCode.SECOND_KEY_PAIR, region, subject))
    return unrecorded, tuple(findings)


def _spare(records: Sequence[KeyRecord], kept: frozenset[str], region: str) -> list[str]:
    """Keys that may be imported there, oldest first: in no place yet, or in use elsewhere and newer than the one that
    signs here. (That a key is new is never told by its date alone: clocks differ, and it would be made again.)"""
    here = [
        placement for record in records for placement in record.placements if placement.account_region.region == region
    ]
    signing = active_placement(here)
    since = next((r.created_at for r in records if signing is not None and r.id == signing.key_id), None)
    return [
        record.id
        for record in records
        if record.id in kept
        and record.compromised_at is None
        and not record.damage
        and _may_be_imported(record, region)
        and (not record.placements or since is None or record.created_at > since)
    ]


def _is_here(record: KeyRecord, region: str) -> bool:
    """Whether something of a key that cannot be read is in that region, or it is not known where it is."""
    return any(p.account_region.region == region for p in record.unreadable) or (
        bool(record.damage) and not record.unreadable
    )


def _to_replace(context: KeysContext, region: str) -> frozenset[str]:
    return frozenset(
        filter(None, (request.previous_key_ids.get(region) for request in context.rotations.newest(_WISHES)))
    )


def _missing(
    context: KeysContext, held: Sequence[KeyPlacement], arns: Collection[str], *, account_verified: bool
) -> tuple[frozenset[str], frozenset[str], datetime | None]:
    """Of the pairs that should be there: those that IVS says it does not hold, those that are proven to be gone, and
    when the next answer may be a proof."""
    absences, lead = context.absences, timedelta(seconds=context.deployment.read().key_propagation_seconds)
    missing, gone, again = set(), set(), []
    for placement in held:
        if placement.arn in arns:
            absences.record_present(placement.arn)
        elif (not lead or context.now() - placement.imported_at >= lead) and not _is_shown(
            context, placement, account_verified=account_verified
        ):
            missing.add(placement.key_id)
            if account_verified and absences.is_confirmed(placement.arn):
                gone.add(placement.key_id)
            elif account_verified:
                again.append(absences.recheck_at(placement.arn, context.clock.monotonic(), context.now()))
    return frozenset(missing), frozenset(gone), min(again, default=None)


def _is_shown(context: KeysContext, placement: KeyPlacement, *, account_verified: bool) -> bool:
    """Whether IVS shows a pair that no list does, as of now or a moment ago."""
    if not context.absences.should_ask(placement.arn, context.clock.monotonic(), account_verified=account_verified):
        return False
    try:
        get_pair(context, placement.account_region.region, placement.arn)
    except ControlPlaneResourceMissing:
        context.absences.record_absent(placement.arn, context.clock.monotonic(), account_verified=account_verified)
        return False
    context.absences.record_present(placement.arn)
    return True


def _damaged(context: KeysContext, records: Sequence[KeyRecord], region: str) -> dict[str, str]:
    """Keys that are held in the region, or may be imported there, and whose private half cannot sign; and why not."""
    here = [
        record
        for record in records
        if record.compromised_at is None
        and not record.damage  # what its row says of the public half may be wrong
        and (
            any(p.is_imported and p.account_region.region == region for p in record.placements)
            or _may_be_imported(record, region)
        )
    ]
    return {record.id: damage for record in here if (damage := context.damage(record))}


def _may_be_imported(record: KeyRecord, region: str) -> bool:
    """Whether a key was never there, and is not on its way out anywhere."""
    return not any(
        placement.account_region.region == region or placement.state in _USED for placement in record.placements
    )


def _strange(region_state: RegionState, region: str, damaged: Mapping[str, str]) -> list[Problem]:
    lost = [
        Problem(ProblemCode.PRIVATE_KEY_DAMAGED, region, {"key_id": key_id, "reason": damaged[key_id]})
        if key_id in damaged
        else Problem(ProblemCode.PRIVATE_KEY_MISSING, region, {"key_id": key_id})
        for key_id in sorted(region_state.private_key_lost)
    ]
    missing = [
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
    return lost + missing + differing
