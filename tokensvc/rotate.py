"""The life of our key pairs, performed step by step: made, imported, put to work, drained, deleted.

Rules of the file
- A key is recorded before anything is done with it, kept in the vault before IVS hears of it, and held by IVS for the
  lead before it signs. Kill the process between any two lines: the next `generate` or `rotate` goes on from there.
- What IVS holds is found again by our two tags, deployment and key; a pair without our deployment's tag is foreign:
  counted, never touched.
- A pair is deleted only when no token that it signed can still start playback: R (how long a worker may act on old
  news) plus the longest life of its tokens plus skew after it began to retire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from tokensvc.core import keypair
from tokensvc.core.arn import Place, parse_arn
from tokensvc.core.claims import TEN_MINUTES_SECONDS
from tokensvc.core.lifecycle import HELD_BY_IVS, KeyState
from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS
from tokensvc.errors import ControlPlaneError, ForeignDeployment, NoFreeSlot, ResourceMissing
from tokensvc.ports.clock import Clock
from tokensvc.ports.control_plane import ControlPlane
from tokensvc.ports.deployment import DeploymentStore
from tokensvc.ports.keys import KeyInPlace, KeyRecord, KeyStore
from tokensvc.ports.vault import Vault

_T = TypeVar("_T")

KEY_PAIRS_MAX = 3
"""Playback key pairs that IVS holds per account and region (IVS user guide, "Service Quotas"); not adjustable."""

UNKEPT_SECONDS = 60
"""A record whose private half is not in the vault for so long is of a run that died; before, one that is under way."""

DEPLOYMENT_TAG = "tokensvc:deployment"
KEY_TAG = "tokensvc:key"


class Pace(NamedTuple):
    """How long things take to be safe, in seconds."""

    lead_seconds: float
    reach_seconds: float
    """R: the longest that any worker can act on old news (snapshot lease + store timeout + clock skew)."""


class World(NamedTuple):
    """What the performer needs of the world."""

    keys: KeyStore
    deployment: DeploymentStore
    vault: Vault
    control_plane: ControlPlane
    clock: Clock
    sleep: Callable[[float], None]
    new_key_id: Callable[[], str]
    report: Callable[[str], None]
    """Told each step in words, for progress."""


def generate(world: World, regions: Sequence[str], pace: Pace) -> KeyRecord:
    """Make a key pair, import it in each region and put it to work there. An unfinished one is finished instead.

    A region that is full, down or throttled is passed over and delays no other; its failure is raised at the end.
    """
    record = _unfinished(world, regions) or _make(world)
    world.vault.open(record.id)  # a key that nobody here can sign with must never take over from one that signs
    held, failures = _in_each(world, regions, lambda region: _held_in(world, record, region))
    _wait_for_lead(world, record.id, pace)
    for place in held:
        _activate(world, record, place)
    if failures:
        raise failures[0]
    return world.keys.get(record.id)


def rotate(world: World, regions: Sequence[str], pace: Pace) -> KeyRecord:
    """Put the next key to work in each region; the one that signed so far drains. Drained pairs are deleted first."""
    _in_each(world, regions, lambda region: delete_drained(world, region, pace))
    return generate(world, regions, pace)


def delete_drained(world: World, region: str, pace: Pace) -> None:
    """Delete from IVS, and from the vault when it is held nowhere else, each key whose tokens have all ended."""
    now, kept = _now(world), world.vault.key_ids()
    over: list[tuple[KeyRecord, KeyInPlace]] = []
    for record in world.keys.list():
        if record.id in kept and _is_over(record):
            world.vault.remove(record.id)  # an earlier run was ended just before it
        here = (there for there in record.places if there.place.region == region)
        over += [(record, t) for t in here if t.state is KeyState.RETIRING and _drained_at(t, pace) <= now]
    if over and not _list_pairs(world, region):
        # Nothing shows that these credentials are of the right account, where a 404 would mean "deleted already".
        world.report(f"IVS shows no key pair in {region}, so what has drained there is left for the next time")
        return
    for record, there in over:
        _delete(world, record, there)


def _in_each(
    world: World, regions: Sequence[str], act: Callable[[str], _T]
) -> tuple[list[_T], list[ControlPlaneError | NoFreeSlot]]:
    done, failures = [], []
    for region in regions:
        try:
            done.append(act(region))
        except (ControlPlaneError, NoFreeSlot) as failure:
            world.report(f"{region} is passed over: {failure.message}")
            failures.append(failure)
    return done, failures


def _unfinished(world: World, regions: Sequence[str]) -> KeyRecord | None:
    """A key that an earlier run did not bring to work everywhere; records whose private half never was are dropped."""
    kept = world.vault.key_ids()
    for record in world.keys.list():
        states = {there.place.region: there.state for there in record.places}
        if not record.places and record.id not in kept:
            if record.created_at <= _now(world) - timedelta(seconds=UNKEPT_SECONDS):
                world.keys.discard(record.id)
        elif not record.places or any(states.get(region) is KeyState.PREPARED for region in regions):
            world.report(f"going on with key {record.id}, which an earlier run left unfinished")
            return record
    return None


def _make(world: World) -> KeyRecord:
    private_key = keypair.generate()
    public_key = private_key.public_key()
    record = world.keys.add(
        world.new_key_id(), keypair.fingerprint(public_key), keypair.public_der(public_key), _now(world)
    )
    world.vault.put(record.id, private_key)
    world.report(f"made key {record.id}, fingerprint {record.fingerprint}; its private half is in the vault")
    return record


def _held_in(world: World, record: KeyRecord, region: str) -> Place:
    """See that IVS holds the public half in that region, and that the store knows."""
    known = next((t for t in record.places if t.place.region == region and t.state in HELD_BY_IVS), None)
    if known is not None:
        return known.place
    deployment = world.deployment.read()
    pairs = _list_pairs(world, region)
    ours = next((p for p in pairs if _tags(p) == (deployment.id, record.id)), None)
    pair = ours or _import(world, record, region, deployment.id, pairs)
    place = parse_arn(str(pair["arn"]), "playback-key").place
    try:
        world.deployment.bind_account(place.account)
    except ForeignDeployment:
        world.control_plane.call(region, "DeletePlaybackKeyPair", {"arn": pair["arn"]})
        raise
    world.keys.record_import(record.id, place, str(pair["arn"]), _now(world))
    world.report(f"IVS holds key {record.id} in {region} as {pair['arn']}")
    return place


def _import(
    world: World, record: KeyRecord, region: str, deployment_id: str, pairs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    if len(pairs) >= KEY_PAIRS_MAX:
        held = ", ".join(f"{p['arn']} ({'ours' if _tags(p)[0] == deployment_id else 'foreign'})" for p in pairs)
        raise NoFreeSlot(
            f"IVS holds {KEY_PAIRS_MAX} key pairs in {region}, as many as it takes: {held}. "
            "One of ours is deleted by `tokensvc keys rotate` once its last token has ended; see `tokensvc keys list`"
        )
    answer = world.control_plane.call(
        region,
        "ImportPlaybackKeyPair",
        {
            "publicKeyMaterial": keypair.public_pem(keypair.read_public_der(record.public_der)),
            "name": f"tokensvc-{record.id}",
            "tags": {DEPLOYMENT_TAG: deployment_id, KEY_TAG: record.id},
        },
    )
    pair: dict[str, Any] = answer["keyPair"]
    if pair.get("fingerprint") != record.fingerprint:
        world.report(
            f"IVS shows the fingerprint {pair.get('fingerprint')} and ours is {record.fingerprint}; IVS does not "
            "document how it makes one, so this is reported and nothing more"
        )
    return pair


def _list_pairs(world: World, region: str) -> list[dict[str, Any]]:
    """All key pairs that IVS holds there. Raises ForeignDeployment when they are another account's."""
    pairs: list[dict[str, Any]] = []
    request: dict[str, Any] = {}
    while True:
        answer = world.control_plane.call(region, "ListPlaybackKeyPairs", request)
        pairs += answer["keyPairs"]
        if not answer.get("nextToken"):
            break
        request = {"nextToken": answer["nextToken"]}
    account = world.deployment.read().account
    if pairs and account and parse_arn(str(pairs[0]["arn"]), "playback-key").place.account != account:
        raise ForeignDeployment(
            f"this deployment's keys live in account {account}, and these credentials are of another"
        )
    return pairs


def _tags(pair: dict[str, Any]) -> tuple[str | None, str | None]:
    tags = pair.get("tags", {})
    return tags.get(DEPLOYMENT_TAG), tags.get(KEY_TAG)


def _wait_for_lead(world: World, key_id: str, pace: Pace) -> None:
    """Publish before use: how fast IVS spreads a new public half is not documented, so it is held for a lead first."""
    held = [there for there in world.keys.get(key_id).places if there.state is KeyState.PREPARED]
    ready_at = max((there.imported_at for there in held), default=_now(world)) + timedelta(seconds=pace.lead_seconds)
    seconds = (ready_at - _now(world)).total_seconds()
    if held and seconds > 0:
        world.report(f"waiting {seconds:.0f} seconds before key {key_id} signs, so that IVS knows it everywhere")
        world.sleep(seconds)


def _activate(world: World, record: KeyRecord, place: Place) -> KeyRecord:
    longest = max(world.deployment.read().max_ttl_seconds, TEN_MINUTES_SECONDS)
    record = world.keys.activate(record.id, place, _now(world), longest)
    world.report(f"key {record.id} signs in {place.region}")
    return record


def _drained_at(there: KeyInPlace, pace: Pace) -> datetime:
    began = there.retiring_at or there.imported_at
    return began + timedelta(seconds=pace.reach_seconds + there.longest_ttl_seconds + CLOCK_SKEW_SECONDS)


def _is_over(record: KeyRecord) -> bool:
    """Whether IVS held this key pair and holds it nowhere any more."""
    return bool(record.places) and all(there.state is KeyState.RETIRED for there in record.places)


def _delete(world: World, record: KeyRecord, there: KeyInPlace) -> None:
    try:
        world.control_plane.call(there.place.region, "DeletePlaybackKeyPair", {"arn": there.arn})
    except ResourceMissing:
        world.report(f"IVS no longer held {there.arn}")
    record = world.keys.retire(record.id, there.place, _now(world))
    if _is_over(record):
        world.vault.remove(record.id)
    world.report(f"key {record.id} is deleted in {there.place.region}: its last token has ended")


def _now(world: World) -> datetime:
    return datetime.fromtimestamp(world.clock.now(), UTC)
