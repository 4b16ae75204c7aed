"""Goes through the regions and takes every step that is due.

Rules of the file
- A region's failure is that region's: the others are gone through all the same.
- What an earlier run left half done is taken up first: records that never came to be, steps that were never noted as
  ended, private halves that can sign nothing any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from tokensvc.core.lifecycle import KeyRecord, StepKind, Wait, decide, waiting
from tokensvc.errors import ControlPlaneError, LostRace, TokensvcError
from tokensvc.ports.journal import Entry
from tokensvc.rotate.steps import perform
from tokensvc.rotate.survey import SETTLED_SECONDS, Survey, survey
from tokensvc.rotate.world import World

_STEPS_MAX = 12
"""More than a region ever needs in one go; a bound, should two decisions ever chase each other."""


class Outlook(NamedTuple):
    """How a region was left."""

    region: str
    seen: Survey | None
    """The last look at it; None when there was none."""
    wait: Wait | None
    """What a change that is due waits for."""
    failure: TokensvcError | None
    """Why it went no further."""

    @property
    def trouble(self) -> tuple[str, ...]:
        """What an operator should know, in words."""
        said = [f"{self.region}: {self.failure.message}"] if self.failure is not None else []
        if self.wait is not None and self.wait.until is None:
            said.append(f"{self.region}: {self.wait.why}")
        return (*said, *(self.seen.findings if self.seen is not None else ()))


def advance(world: World, regions: Sequence[str]) -> list[Outlook]:
    """Take every step that is due, in these regions and wherever else we hold a pair or began to import one.

    Returns nothing when another process performs. Raises StoreError.
    """
    if not world.lead():
        return []
    outlooks: list[Outlook] = []
    for region in _all_regions(world, regions):
        is_sure = any(outlook.seen is not None and outlook.seen.pairs for outlook in outlooks)
        outlooks.append(_advance_region(world, region, wanted=region in regions, is_sure=is_sure))
    _close_journal(world, [o.region for o in outlooks if o.seen is not None])
    _forget_what_never_was(world)
    _tidy_vault(world)
    return outlooks


def _advance_region(world: World, region: str, *, wanted: bool, is_sure: bool) -> Outlook:
    seen: Survey | None = None
    failure: TokensvcError | None = None
    try:
        policy = world.policy()
        seen = survey(world, region, wanted=wanted, is_sure=is_sure)
        put_off: frozenset[str] = frozenset()
        for _ in range(_STEPS_MAX):
            step = decide(seen.standing._replace(put_off=put_off), world.now(), policy)
            if step is None or not world.lead():
                break
            try:
                perform(world, seen, step)
            except ControlPlaneError as refused:
                if step.kind is not StepKind.DELETE:
                    raise
                failure = _told(world, region, refused)  # what cannot be deleted yet keeps no other key from signing
                put_off |= {str(step.key_id)}
            touched_ivs = step.kind in {StepKind.IMPORT, StepKind.DELETE}
            seen = survey(world, region, None if touched_ivs else seen.pairs, wanted=wanted, is_sure=is_sure)
        left = seen.standing._replace(put_off=put_off)
        return Outlook(region, seen, waiting(left, world.now(), policy), failure)
    except TokensvcError as refused:
        return Outlook(region, seen, None, _told(world, region, refused))


def _told(world: World, region: str, failure: TokensvcError) -> TokensvcError:
    world.report(f"{region} is left as it is for now: {failure.message}")
    return failure


def _all_regions(world: World, regions: Sequence[str]) -> list[str]:
    held = {there.place.region for record in world.keys.list() for there in record.places if there.is_held}
    begun = {entry.region for entry in world.journal.open() if entry.kind is StepKind.IMPORT}
    return [*regions, *sorted((held | begun) - set(regions))]


def _close_journal(world: World, looked_at: Sequence[str]) -> None:
    """A step that was begun and not noted as ended is settled long enough after; an import, once IVS was looked at."""
    records, kept = {record.id: record for record in world.keys.list()}, world.vault.key_ids()
    for entry in world.journal.open():
        if entry.kind is StepKind.IMPORT and entry.region not in looked_at:
            continue
        happened = _came_about(entry, records.get(entry.key_id), kept)
        if happened or world.now() - entry.begun_at > timedelta(seconds=SETTLED_SECONDS):
            world.journal.end(entry.id, "done" if happened else "never_happened", world.now())


def _came_about(entry: Entry, record: KeyRecord | None, kept: frozenset[str]) -> bool:
    """Whether a step had its effect, as far as the store and the vault know by now."""
    there = next((p for p in record.places if p.place.region == entry.region), None) if record is not None else None
    if entry.kind is StepKind.MAKE:
        return record is not None and (record.id in kept or bool(record.places))
    if there is None:
        return False
    if entry.kind is StepKind.ACTIVATE:
        return there.activated_at is not None and there.activated_at >= entry.begun_at
    return entry.kind is StepKind.IMPORT or not there.is_held


def _forget_what_never_was(world: World) -> None:
    """Drop records whose private half never came into the vault: of a run that died in between."""
    kept, begun = world.vault.key_ids(), {entry.key_id for entry in world.journal.open()}
    for record in world.keys.list():
        age = world.now() - record.created_at
        never_was = not record.places and record.id not in kept | begun
        if never_was and age > timedelta(seconds=SETTLED_SECONDS):
            with contextlib.suppress(LostRace):  # it has come to be in the meantime
                world.keys.discard(record.id)


def _tidy_vault(world: World) -> None:
    """Remove private halves that can sign nothing any more."""
    kept = world.vault.key_ids()
    for record in world.keys.list():
        if record.id in kept and _is_over(record):
            world.vault.remove(record.id)


def _is_over(record: KeyRecord) -> bool:
    """Whether IVS held this key and holds it nowhere any more, or must never hold it."""
    gone = all(not there.is_held for there in record.places)
    return gone and (bool(record.places) or record.compromised_at is not None)
