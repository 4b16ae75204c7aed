"""How things stand in a region: what IVS holds there, set beside what the store knows.

Rules of the file
- What IVS holds is known again by our two tags, deployment and key. A pair without our deployment's tag is foreign:
  counted, never touched. Our tag with a key that the store does not know is a finding, never touched either.
- An import that happened and was not recorded is recorded here, so a crash between the two leaves no orphan.
- A pair is missing when no list shows it and IVS says that there is none of its ARN: lists may lag.
- Where IVS shows no pair at all, we may be asking about another account: nothing is done there that cannot be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from tokensvc.core.arn import parse_arn
from tokensvc.core.lifecycle import KeyInPlace, KeyRecord, KeyState, Standing, active_of
from tokensvc.errors import ForeignDeployment, ResourceMissing
from tokensvc.ports.control_plane import ControlPlane
from tokensvc.rotate.world import World

DEPLOYMENT_TAG = "tokensvc:deployment"
KEY_TAG = "tokensvc:key"

SETTLED_SECONDS = 60
"""How long a pair that was just imported may be absent from lists, and a private half that was just made from the
vault: IVS's lists may lag (not documented), and another process may be between two steps."""

_USED = frozenset({KeyState.RETIRING, KeyState.RETIRED, KeyState.COMPROMISED})
_WISHES = 20
Pair = Mapping[str, Any]


class Survey(NamedTuple):
    """One look at a region."""

    region: str
    pairs: Sequence[Pair]
    """Everything that IVS holds there, as ListPlaybackKeyPairs shows it."""
    standing: Standing
    findings: tuple[str, ...]
    """What an operator should look at."""
    deployment_id: str


def survey(
    world: World,
    region: str,
    pairs: Sequence[Pair] | None = None,
    *,
    wanted: bool = True,
    is_sure: bool = False,
    record: bool = True,
) -> Survey:
    """Look at a region; `pairs` when they were listed a moment ago, `is_sure` when another region showed our account.

    Without `record` nothing is changed: an import that was not recorded is a finding then. Raises ControlPlaneError,
    ForeignDeployment.
    """
    deployment = world.deployment.read()
    if pairs is None:
        pairs = list_pairs(world.control_plane, region, deployment.account)
    records, kept = world.keys.list(), world.vault.key_ids()
    unrecorded, findings = _tagged(records, region, pairs, deployment.id)
    if not record:
        findings += tuple(
            f"IVS holds key {key.id} in {region} as {pair['arn']}, which is not recorded yet"
            for key, pair in unrecorded
        )
    elif unrecorded:
        for key, pair in unrecorded:
            record_held(world, key, str(pair["arn"]), get_pair(world, region, str(pair["arn"])))
        records = world.keys.list()
    ours = [there for record in records for there in record.places if there.place.region == region]
    held, arns = {p.arn for p in ours if p.is_held}, {str(pair["arn"]) for pair in pairs}
    damaged = {p.arn: p for r in records for p in r.unreadable if p.place.region == region}
    standing = Standing(
        pairs=ours,
        spare=_spare(records, kept, region),
        foreign=len(arns - held - damaged.keys()),
        to_replace=_to_replace(world, region),
        missing=frozenset(p.key_id for p in ours if p.is_held and p.arn not in arns and _is_missing(world, p)),
        is_sure=is_sure or bool(pairs),
        lost=frozenset(p.key_id for p in ours if p.is_held and p.key_id not in kept),
        unreadable=frozenset(arn for arn, p in damaged.items() if p.is_held or arn in arns),
        wanted=wanted,
    )
    findings += tuple(
        f"key {r.id} cannot be read and is left as it is: {r.damage}" for r in records if _is_here(r, region)
    )
    findings += tuple(_strange(standing, region))
    return Survey(region, pairs, standing, findings, deployment.id)


def list_pairs(control_plane: ControlPlane, region: str, account: str | None) -> list[Pair]:
    """All key pairs that IVS holds there. Raises ForeignDeployment when they are of another account than this one."""
    pairs: list[Pair] = []
    request: dict[str, Any] = {}
    while True:
        answer = control_plane.call(region, "ListPlaybackKeyPairs", request)
        pairs += answer["keyPairs"]
        if not answer.get("nextToken"):
            break
        request = {"nextToken": answer["nextToken"]}
    if pairs and account and parse_arn(str(pairs[0]["arn"]), "playback-key").place.account != account:
        raise ForeignDeployment(
            f"this deployment's keys live in account {account}, and these credentials are of another"
        )
    return pairs


def get_pair(world: World, region: str, arn: str) -> Pair:
    """One key pair as GetPlaybackKeyPair shows it: with its fingerprint, which lists do not show."""
    pair: Pair = world.control_plane.call(region, "GetPlaybackKeyPair", {"arn": arn})["keyPair"]
    return pair


def record_held(world: World, record: KeyRecord, arn: str, pair: Pair) -> None:
    """Note that IVS holds a key as this pair; one whose fingerprint is not ours waits for somebody to look.

    Raises ForeignDeployment, LostRace, KeyNotFound.
    """
    shown = str(pair.get("fingerprint", record.fingerprint))
    differs = shown != record.fingerprint
    place = parse_arn(arn, "playback-key").place
    world.deployment.bind_account(place.account)
    world.keys.record_import(record.id, place, arn, world.now(), fingerprint_differs=differs)
    world.report(f"IVS holds key {record.id} in {place.region} as {arn}")
    if differs:
        world.report(
            f"IVS shows the fingerprint {shown} and ours is {record.fingerprint}. How IVS makes one is not "
            f"documented: look, and put the key to work with `tokensvc keys activate {record.id}` if it is right"
        )


def tags_of(pair: Pair) -> tuple[str | None, str | None]:
    """Whose a pair is: deployment and key, as its tags say."""
    tags = pair.get("tags", {})
    return tags.get(DEPLOYMENT_TAG), tags.get(KEY_TAG)


def whose(pair: Pair, deployment_id: str) -> str:
    """Whose a pair is, in one word for a list."""
    return "ours" if tags_of(pair)[0] == deployment_id else "foreign"


def _tagged(
    records: Sequence[KeyRecord], region: str, pairs: Sequence[Pair], deployment_id: str
) -> tuple[list[tuple[KeyRecord, Pair]], tuple[str, ...]]:
    """Imports that were not recorded, and what bears our tag and does not fit."""
    known = {record.id: record for record in records}
    noted = {there.arn for record in records for there in record.everywhere}
    unrecorded, findings = [], []
    for pair in pairs:
        (owner, key_id), arn = tags_of(pair), str(pair["arn"])
        if owner != deployment_id or arn in noted:
            continue
        record = known.get(str(key_id))
        if record is None:
            findings.append(
                f"IVS holds {arn} in {region} under our tag for a key that the store does not know: {key_id}"
            )
            continue
        there = next((p for p in record.places if p.place.region == region), None)
        if record.damage:
            findings.append(f"IVS holds {arn} in {region} for key {record.id}, which cannot be read: {record.damage}")
        elif there is None or not there.is_held:
            unrecorded.append((record, pair))
        else:
            findings.append(f"IVS holds key {record.id} in {region} as {arn}, and the store knows it as {there.arn}")
    return unrecorded, tuple(findings)


def _spare(records: Sequence[KeyRecord], kept: frozenset[str], region: str) -> list[str]:
    """Keys that may be imported there, oldest first: in no place yet, or in use elsewhere and newer than the one that
    signs here. (That a key is new is never told by its date alone: clocks differ, and it would be made again.)"""
    here = [there for record in records for there in record.places if there.place.region == region]
    signing = active_of(here)
    since = next((r.created_at for r in records if signing is not None and r.id == signing.key_id), None)
    return [
        record.id
        for record in records
        if record.id in kept
        and record.compromised_at is None
        and not record.damage
        and not any(there.place.region == region or there.state in _USED for there in record.places)
        and (not record.places or since is None or record.created_at > since)
    ]


def _is_here(record: KeyRecord, region: str) -> bool:
    """Whether something of a key that cannot be read is in that region, or it is not known where it is."""
    return any(p.place.region == region for p in record.unreadable) or (bool(record.damage) and not record.unreadable)


def _to_replace(world: World, region: str) -> frozenset[str]:
    return frozenset(filter(None, (wish.replaces.get(region) for wish in world.rotations.newest(_WISHES))))


def _is_missing(world: World, there: KeyInPlace) -> bool:
    """Whether IVS does not hold a pair that no list shows."""
    if world.now() - there.imported_at <= timedelta(seconds=SETTLED_SECONDS):
        return False
    try:
        get_pair(world, there.place.region, there.arn)
    except ResourceMissing:
        return True
    return False


def _strange(standing: Standing, region: str) -> list[str]:
    lost = [f"the private half of key {key_id} is not in the vault" for key_id in sorted(standing.lost)]
    missing = [f"IVS does not hold key {key_id} in {region} any more" for key_id in sorted(standing.missing)]
    differing: list[KeyInPlace] = [p for p in standing.pairs if p.is_held and p.fingerprint_differs]
    return (
        lost
        + missing
        + [
            f"IVS shows another fingerprint for key {p.key_id} in {region} than ours: look at {p.arn}, and put it to "
            f"work with `tokensvc keys activate {p.key_id}` if it is right"
            for p in differing
            if p.state is KeyState.PREPARED
        ]
    )
