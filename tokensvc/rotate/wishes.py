"""What people ask for, on top of what goes by itself: rotate now, another key, this key, none of that key any more.

Rules of the file
- A wish is stored before anything is done for it, so that whoever performs next goes on with it.
- What a wish would break is refused before anything is changed, and the refusal says what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from tokensvc.core.lifecycle import KeyInPlace, KeyRecord, KeyState, Step, StepKind, drained_at, find, led_at, successor
from tokensvc.core.rotation import check_policy, check_slots
from tokensvc.errors import Conflict, PolicyCannotHold, TokensvcError, VaultError
from tokensvc.ports.rotations import Rotation
from tokensvc.rotate.bringing import everywhere, import_new
from tokensvc.rotate.performer import Outlook, advance, look
from tokensvc.rotate.steps import full, in_region, make, perform
from tokensvc.rotate.survey import survey
from tokensvc.rotate.world import World

POLL_SECONDS = 1.0
"""How often a wish is looked at while another process performs it."""

POLLS_A_LOOK = 4
"""Each so many of these looks are at IVS too: at a region that is full nobody would ever perform it."""


class Prospect(NamedTuple):
    """What a compromise would bring about in one region."""

    region: str
    was_active: bool
    successor: str | None
    """The key that takes over at once; None: nobody signs there until a new key has led."""
    seconds_without: float
    """How long no token can be signed there."""


def request_rotation(world: World, regions: Sequence[str], by: str) -> Rotation:
    """Wish for the next key to sign in these regions. Raises PolicyCannotHold when it could never come true."""
    check_policy(world.policy(), world.deployment.read().max_ttl_seconds)
    replaces = {region: _active(world.keys.list(), region) for region in regions}
    return world.rotations.request(world.new_id(), replaces, world.now(), by)


def fulfilled(records: Sequence[KeyRecord], wish: Rotation) -> dict[str, str | None]:
    """By region, the key that took over there; None where the wish has not come true yet."""
    signing = {region: _active(records, region) for region in wish.replaces}
    return {region: key_id if key_id != wish.replaces[region] else None for region, key_id in signing.items()}


def rotate(world: World, regions: Sequence[str], by: str, *, patient: bool = False) -> Rotation:
    """Ask for a rotation and see it through; `patient` also waits for a drain. Raises what keeps it back."""
    wish = request_rotation(world, regions, by)
    resume(world, regions, patient=patient)
    return wish


def resume(world: World, regions: Sequence[str], *, patient: bool = False) -> None:
    """See through what was begun or asked for before: a key signs in each region, and not one to be replaced."""

    def is_done(region: str) -> bool:
        records = world.keys.list()
        latest = [wish for wish in world.rotations.newest(1) if region in wish.replaces]
        return _active(records, region) is not None and all(fulfilled(records, wish)[region] for wish in latest)

    settle(world, regions, is_done, patient=patient)


def generate(world: World, regions: Sequence[str]) -> KeyRecord:
    """Make a key and import it in each region. It signs where none did; elsewhere it stands ready."""
    if not _all_sign(world, regions):
        settle(world, regions, lambda region: _active(world.keys.list(), region) is not None)
        return find(world.keys.list(), str(_active(world.keys.list(), regions[0])))
    record = make(world, "somebody asked for another key")
    everywhere(world, regions, lambda region: import_new(world, record.id, region))
    return find(world.keys.list(), record.id)


def activate(world: World, key_id: str, regions: Sequence[str]) -> KeyRecord:
    """Sign with this prepared key in each of these regions, once IVS has held it for the lead."""
    policy = world.policy()
    for region in regions:
        there = in_region(find(world.keys.list(), key_id), region)
        _sleep_until(world, led_at(there, policy.lead_seconds), f"key {key_id} signs in {region}")
        perform(world, survey(world, region), Step(StepKind.ACTIVATE, key_id, "an operator asked for it"))
    return find(world.keys.list(), key_id)


def delete(world: World, key_id: str, regions: Sequence[str]) -> KeyRecord:
    """Delete this key's pairs in each of these regions. Raises Conflict while its tokens may still live."""
    policy, record = world.policy(), find(world.keys.list(), key_id)
    if not record.places:
        if any(entry.key_id == key_id for entry in world.journal.open()):
            raise Conflict(f"an import of key {key_id} was begun and may have come about; first: tokensvc keys resume")
        world.keys.discard(key_id)
        world.vault.remove(key_id)
        return record
    surveys = [survey(world, p.place.region) for p in record.places if p.place.region in regions and p.is_held]
    for there in (p for seen in surveys for p in seen.standing.pairs if p.key_id == key_id):
        ends_at = drained_at(there, policy)
        if there.state is KeyState.ACTIVE:
            raise Conflict(f"key {key_id} signs in {there.place.region}; first: tokensvc keys rotate")
        if there.longest_ttl_seconds and there.state is not KeyState.COMPROMISED and ends_at > world.now():
            raise Conflict(
                f"tokens of key {key_id} may live until {ends_at:%Y-%m-%dT%H:%M:%SZ} in {there.place.region}; it goes "
                "by itself then. If it is compromised: tokensvc keys compromise"
            )
    for seen in surveys:
        perform(world, seen, Step(StepKind.DELETE, key_id, "an operator asked for it"))
    advance_once(world, ())  # tidies up; what is to come in its place, and whether, is for whoever rotates
    return find(world.keys.list(), key_id)


def foresee(world: World, key_id: str, *, distrust_standby: bool) -> list[Prospect]:
    """What `compromise` would bring about, without doing it."""
    policy, records = world.policy(), world.keys.list()
    key = find(records, key_id)
    bad = {r.id for r in records if r.id == key_id or (distrust_standby and not any(p.activated_at for p in r.places))}
    unable, prospects = _without_private_half(world), []
    for there in key.places:
        if not there.is_held:
            continue
        others = [p for r in records if r.id not in bad | unable for p in r.places if p.place == there.place]
        best = successor(others, world.now(), policy.lead_seconds)
        active = there.state is KeyState.ACTIVE
        without = 0.0 if best is not None or not active else _until_led(others, world.now(), policy.lead_seconds)
        prospects.append(Prospect(there.place.region, active, best.key_id if active and best else None, without))
    return prospects


def compromise(world: World, key_id: str, regions: Sequence[str], *, distrust_standby: bool) -> list[Outlook]:
    """Never sign with this key again; then delete its pairs everywhere and bring in what is needed.

    The first is one transaction and is done when this raises or returns; the rest goes on by itself if it cannot be
    finished now.
    """
    denounce(world, key_id, distrust_standby=distrust_standby)
    return advance_once(world, regions)


def denounce(world: World, key_id: str, *, distrust_standby: bool) -> KeyRecord:
    """Never sign with this key again: the one transaction of a compromise. Whoever performs does the rest."""
    lead_seconds = world.deployment.read().key_lead_seconds
    record = world.keys.compromise(
        key_id, world.now(), lead_seconds, distrust_standby=distrust_standby, unable=_without_private_half(world)
    )
    world.report(f"key {key_id} is compromised: workers stop signing with it as soon as they hear")
    return record


def settle(world: World, regions: Sequence[str], is_done: Callable[[str], bool], *, patient: bool = False) -> None:
    """Go on until it is done in every region, waiting for leads, and for drains when `patient`.

    A region that cannot go on is given up and delays no other; what keeps the first one back is raised at the end.
    """
    try:
        given_up = _settle(world, regions, is_done, patient=patient)
    finally:
        world.step_down()
    for region in regions:
        if region in given_up and not is_done(region):
            raise given_up[region]


def _settle(
    world: World, regions: Sequence[str], is_done: Callable[[str], bool], *, patient: bool
) -> dict[str, TokensvcError]:
    given_up: dict[str, TokensvcError] = {}
    told, polls = "", 0
    while True:
        outlooks = advance(world, regions)
        pending = [region for region in regions if not is_done(region)]
        if not outlooks and pending:
            told, polls = _tell(world, told, "another process performs; waiting for it"), polls + 1
            if polls % POLLS_A_LOOK == 0:
                given_up = _kept_back_there(world, pending, patient=patient)
                if given_up.keys() >= set(pending):
                    break
            world.sleep(POLL_SECONDS)
            continue
        waits = []
        for outlook in outlooks:
            if outlook.region in pending:
                kept_back = _kept_back(outlook, patient=patient)
                if kept_back is not None:
                    given_up[outlook.region] = kept_back
                elif outlook.wait is not None and outlook.wait.until is not None:
                    given_up.pop(outlook.region, None)
                    waits.append(outlook.wait.until)
        if waits:
            _sleep_until(world, min(waits), "a key signs")
        elif all(region in given_up for region in pending):
            break
        else:  # the lease was lost on the way, with steps still due
            told = _tell(world, told, "another process performs; waiting for it")
            world.sleep(POLL_SECONDS)
    return given_up


def advance_once(world: World, regions: Sequence[str]) -> list[Outlook]:
    """Take every step that is due now, and give the lease up."""
    try:
        return advance(world, regions)
    finally:
        world.step_down()


def _kept_back_there(world: World, regions: Sequence[str], *, patient: bool) -> dict[str, TokensvcError]:
    """What keeps these regions back from whoever performs; that IVS does not answer us says nothing about that."""
    kept_back = {o.region: _kept_back(o, patient=patient) for o in look(world, regions) if o.failure is None}
    return {region: failure for region, failure in kept_back.items() if failure is not None}


def _kept_back(outlook: Outlook, *, patient: bool) -> TokensvcError | None:
    """Why a region cannot go on for now; None when it only waits for a lead, or for a drain when `patient`."""
    if outlook.failure is not None and outlook.wait is None:
        return outlook.failure
    seen, wait = outlook.seen, outlook.wait
    if seen is None or wait is None:
        return None
    leads = any(p.state is KeyState.PREPARED and not p.fingerprint_differs for p in seen.standing.pairs)
    if wait.until is not None:
        ends = f"One of ours has drained at {wait.until:%Y-%m-%dT%H:%M:%SZ}, and the rotation goes on then by itself"
        return None if leads or patient else full(seen, ends)
    if any(p.fingerprint_differs for p in seen.standing.pairs):
        return Conflict(wait.why)
    try:
        check_slots(outlook.region, seen.standing.foreign)
    except PolicyCannotHold as failure:
        return full(seen, failure.message)
    return full(seen)


def _without_private_half(world: World) -> frozenset[str]:
    """Keys that nobody can sign with. Trouble with the vault keeps nobody from ending a key: then none is left out."""
    try:
        kept = world.vault.key_ids()
    except VaultError:
        return frozenset()
    return frozenset(record.id for record in world.keys.list()) - kept


def _active(records: Sequence[KeyRecord], region: str) -> str | None:
    places = (there for record in records for there in record.places)
    return next((p.key_id for p in places if p.place.region == region and p.state is KeyState.ACTIVE), None)


def _all_sign(world: World, regions: Sequence[str]) -> bool:
    records = world.keys.list()
    return all(_active(records, region) for region in regions)


def _until_led(pairs: Sequence[KeyInPlace], now: datetime, lead_seconds: float) -> float:
    """How long until a key that stands there may sign, or one that is imported now."""
    leads = [led_at(p, lead_seconds) for p in pairs if p.state is KeyState.PREPARED and p.is_held]
    return max(0.0, (min(leads) - now).total_seconds()) if leads else lead_seconds


def _sleep_until(world: World, until: datetime, what: str) -> None:
    seconds = (until - world.now()).total_seconds()
    if seconds > 0:
        world.report(f"waiting {seconds:.0f} seconds before {what}")
        world.sleep(seconds)


def _tell(world: World, told: str, words: str) -> str:
    if told != words:
        world.report(words)
    return words
