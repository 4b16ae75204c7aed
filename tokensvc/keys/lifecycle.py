"""The life of a key pair in one place, as tables: which moves there are, and which step is due.

Rules of the file
- A key is prepared (IVS holds it, nobody signs with it), active (we sign with it), retiring (IVS still admits its
  tokens), retired (IVS holds it no more) or compromised (IVS must not hold it).
- Publish before use: only a prepared key becomes active, and by itself only after the lead. Drain before delete: a
  retiring key's pair goes when its last token has ended. A compromised one goes at once.
- A missing active key may mean that the store was restored, and that others signed in the time it has forgotten. So
  nothing is deleted as drained or unused until that is proven, and then each drain starts anew.
- A retiring key signs again when no better one can: after a compromise, when IVS does not hold the active one, when its
  private key is lost, or because an operator says so. While one may be needed for that, it is not deleted.
- A pair that a list does not show is missing; it is gone once that is proven (`keys/absences.py`). Only the second
  changes what is recorded.
- `next_step` is pure and looks at one region; whoever stores states checks each move against MOVES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import Action, Conflict, KeyNotFound, Remedy
from tokensvc.keys.rotation_policy import KEY_PAIRS_MAX


class KeyState(StrEnum):
    """What a key pair is, in one account and region."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    COMPROMISED = "compromised"


MOVES: dict[KeyState, frozenset[KeyState]] = {
    KeyState.PREPARED: frozenset({KeyState.ACTIVE, KeyState.RETIRED, KeyState.COMPROMISED}),
    KeyState.ACTIVE: frozenset({KeyState.RETIRING, KeyState.RETIRED, KeyState.COMPROMISED}),
    KeyState.RETIRING: frozenset({KeyState.RETIRED, KeyState.COMPROMISED, KeyState.ACTIVE}),
    KeyState.RETIRED: frozenset({KeyState.COMPROMISED}),
    KeyState.COMPROMISED: frozenset(),
}
"""From each state, the states that may follow. README's diagram is drawn from this table (`diagram`)."""

MAY_SIGN = frozenset({KeyState.PREPARED, KeyState.ACTIVE, KeyState.RETIRING})
"""States in which IVS admits the key's tokens, and wants to."""


class KeyPlacement(NamedTuple):
    """One of our key pairs in one account and region."""

    key_id: str
    account_region: AccountRegion
    state: KeyState
    arn: str
    imported_at: datetime
    activated_at: datetime | None = None
    retiring_at: datetime | None = None
    """When its drain began: when another key took over or, of a prepared key, when it turned out that it may have
    signed at a time that a restored store has forgotten. An active key that has one was reactivated."""
    retired_at: datetime | None = None
    """Since when IVS holds the pair no more, whatever its state was."""
    compromised_at: datetime | None = None
    deleting_at: datetime | None = None
    """Since when it is being deleted: it never signs again."""
    longest_ttl_seconds: int = 0
    """The longest life a token signed with it here may have; 0 until it is first active, unless others minted tokens
    with it or it may have signed at a time that a restored store has forgotten; and only ever raised."""
    fingerprint_differs: bool = False
    """IVS shows another fingerprint than ours: an operator may put it to work, we do not by ourselves."""

    @property
    def is_imported(self) -> bool:
        """Whether IVS holds the public half, as far as we know, so that the pair fills a slot."""
        return self.retired_at is None


class UnreadablePlacement(NamedTuple):
    """A key pair in one account and region whose row in the store cannot be read.

    IVS may hold the pair, and its tokens may live. So it fills a slot, it is ours, and nothing is done with it: it
    neither signs nor moves on nor is deleted.
    """

    key_id: str
    account_region: AccountRegion
    arn: str
    is_imported: bool
    """False when the row says at least that IVS holds it no more."""


class KeyRecord(NamedTuple):
    """One of our key pairs. A record without places was made but is not (yet) known to be in IVS, unless it is damaged:
    then it is not known where it is, and it is neither used anew nor forgotten."""

    id: str
    fingerprint: str
    public_der: bytes
    created_at: datetime
    placements: tuple[KeyPlacement, ...]
    """Where it is, as far as that can be read."""
    compromised_at: datetime | None = None
    damage: str = ""
    """Why its own row, or that of one of its places, cannot be read."""
    unreadable: tuple[UnreadablePlacement, ...] = ()

    @property
    def all_placements(self) -> list[KeyPlacement | UnreadablePlacement]:
        """Where it is, readable or not."""
        return [*self.placements, *self.unreadable]

    def require_readable(self) -> None:
        """Raise Conflict when something of it cannot be read, before it is put to another use or forgotten."""
        if self.damage:
            raise Conflict(
                f"key {self.id} cannot be read, and is left as it is: {self.damage}",
                subject={"key_id": self.id},
                remedy=Remedy(Action.DIAGNOSE),
            )


class StepKind(StrEnum):
    """What can be done next."""

    GENERATE = "generate"
    IMPORT = "import"
    ACTIVATE = "activate"
    DELETE = "delete"
    REACTIVATE = "reactivate"
    """A retiring key signs again until a better one is ready."""
    RECORD_ABSENCE = "record_absence"
    """IVS does not hold the pair, so it signs nothing more; where it signed, the best other one takes over."""


class Step(NamedTuple):
    """One idempotent move. `key_id` is None for a key that is still to be made."""

    kind: StepKind
    key_id: str | None
    reason: str


class Wait(NamedTuple):
    """Nothing can be done before that instant, or, where it is None, before somebody makes room."""

    until: datetime | None
    reason: str
    for_drain: bool = False
    """Whether it is the end of a drain, which takes hours rather than seconds."""


class RegionState(NamedTuple):
    """How things stand in one region: all that `next_step` looks at."""

    placements: Sequence[KeyPlacement]
    """Ours there, whatever they are by now."""
    importable: Sequence[str] = ()
    """Keys of ours that may be imported there: made, kept in the vault, never there before; the next one first."""
    foreign: int = 0
    """Pairs that others hold there."""
    to_replace: frozenset[str] = frozenset()
    """Keys that somebody asked to be replaced there."""
    absent_in_ivs: frozenset[str] = frozenset()
    """Keys that should be there, that no list shows, and of which IVS has answered once that it does not hold them."""
    confirmed_absent: frozenset[str] = frozenset()
    """Those of the missing ones that IVS is proven not to hold."""
    recheck_at: datetime | None = None
    """When the next answer of IVS about the missing ones may be the proof."""
    account_verified: bool = True
    """Whether IVS was seen to hold pairs of our account. Where it was not, we may be asking about another account, so
    nothing is recorded or deleted for being missing; but another key may be brought, and its ARN will tell."""
    private_key_lost: frozenset[str] = frozenset()
    """Keys whose private half the vault has no more, or which does not open."""
    deferred_deletions: frozenset[str] = frozenset()
    """Keys whose deletion was tried just now and failed."""
    unreadable: frozenset[str] = frozenset()
    """ARNs of pairs of ours whose rows cannot be read."""
    configured: bool = True
    """Whether we are to hold keys there; where not, what is there only ends."""


def next_step(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | None:
    """The step that is due, or None."""
    found = _next(region_state, now, policy)
    return found if isinstance(found, Step) else None


def blocked_on(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Wait | None:
    """What a rotation that is due waits for; None when a step is due, or nothing is."""
    found = _next(region_state, now, policy)
    return found if isinstance(found, Wait) else None


def is_rotation_due(region_state: RegionState, now: datetime, policy: RotationPolicy) -> bool:
    """Whether another key should sign there: none does, it is too old, gone, only stood in, or somebody asked."""
    active = active_placement(region_state.placements)
    if active is None or active.activated_at is None or active.key_id in unusable_keys(region_state):
        return True
    if active.retiring_at is not None:  # it was retiring when it was reactivated
        return True
    if active.key_id in region_state.to_replace:
        return True
    return policy.max_age_seconds is not None and now >= active.activated_at + timedelta(seconds=policy.max_age_seconds)


def active_placement(pairs: Sequence[KeyPlacement]) -> KeyPlacement | None:
    """The one that signs."""
    return next((pair for pair in pairs if pair.state is KeyState.ACTIVE), None)


def drains_at(pair: KeyPlacement, policy: RotationPolicy) -> datetime:
    """When the last token that it may have signed there has ended."""
    began = pair.retiring_at or pair.imported_at
    return began + timedelta(seconds=policy.drain_seconds(pair.longest_ttl_seconds))


def usable_from(pair: KeyPlacement, propagation_seconds: float) -> datetime:
    """When IVS has held it for the lead."""
    return pair.imported_at + timedelta(seconds=propagation_seconds)


def successor(pairs: Sequence[KeyPlacement], now: datetime, propagation_seconds: float) -> KeyPlacement | None:
    """The best key that IVS already holds there to take over at once: one that stands ready, else the last retired."""
    usable = [p for p in pairs if p.is_imported and p.deleting_at is None and not p.fingerprint_differs]
    ready = [p for p in usable if p.state is KeyState.PREPARED and usable_from(p, propagation_seconds) <= now]
    retiring = [p for p in usable if p.state is KeyState.RETIRING]
    return min(ready, key=_imported, default=None) or max(retiring, key=_retiring, default=None)


def require_key(records: Sequence[KeyRecord], key_id: str) -> KeyRecord:
    """One of these records. Raises KeyNotFound."""
    found = next((record for record in records if record.id == key_id), None)
    if found is None:
        raise KeyNotFound(f"there is no key {key_id}", subject={"key_id": key_id})
    return found


def diagram() -> str:
    """The states and moves as a Mermaid state diagram."""
    moves = [f"    {state} --> {to}" for state in KeyState for to in KeyState if to in MOVES[state]]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {KeyState.PREPARED}", *moves])


def unusable_keys(region_state: RegionState) -> frozenset[str]:
    """Keys of which no token can start playback, or that nobody can sign with."""
    return region_state.absent_in_ivs | region_state.private_key_lost


def is_active_key_absent(region_state: RegionState) -> bool:
    """Whether IVS has answered that it does not hold the key that signs, so that the store may be a restored one. Where
    no key is wanted, what is left only ends."""
    active = active_placement(region_state.placements)
    return region_state.configured and active is not None and active.key_id in region_state.absent_in_ivs


def _next(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | Wait | None:
    ending = _to_record_absence(region_state) or _to_delete(region_state, now, policy)
    if ending is not None or not region_state.configured:
        return ending
    active = active_placement(region_state.placements)
    if region_state.recheck_at is not None and (active is None or active.key_id not in region_state.private_key_lost):
        missing = ", ".join(sorted(region_state.absent_in_ivs - region_state.confirmed_absent))
        return Wait(region_state.recheck_at, f"IVS says that it does not hold key {missing}; it is asked a second time")
    following = _to_take_over(region_state, now, policy) if is_rotation_due(region_state, now, policy) else None
    return following or _to_stand_by(region_state, policy)


def _to_record_absence(region_state: RegionState) -> Step | None:
    """The key that signs goes first."""
    absent = [
        pair for pair in region_state.placements if pair.is_imported and pair.key_id in region_state.confirmed_absent
    ]
    first = active_placement(absent) or next(iter(absent), None)
    return Step(StepKind.RECORD_ABSENCE, first.key_id, "IVS does not hold it any more") if first is not None else None


def _may_be_reactivated(pair: KeyPlacement, region_state: RegionState) -> bool:
    """Whether no key signs there whose tokens start playback, and this retiring one can."""
    active, unfit = active_placement(region_state.placements), unusable_keys(region_state)
    if not region_state.configured or (active is not None and active.key_id not in unfit):
        return False
    return pair.key_id not in unfit and pair.deleting_at is None and not pair.fingerprint_differs


def _to_delete(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | None:
    """What must go, worst first."""
    for reason, applies in _MUST_GO:
        for pair in region_state.placements:
            if (
                pair.is_imported
                and pair.key_id not in region_state.deferred_deletions
                and applies(pair, region_state, now, policy)
            ):
                return Step(StepKind.DELETE, pair.key_id, reason)
    return None


_Applies = Callable[[KeyPlacement, RegionState, datetime, RotationPolicy], bool]
_MUST_GO: tuple[tuple[str, _Applies], ...] = (
    ("it is compromised", lambda pair, *_: pair.state is KeyState.COMPROMISED),
    ("its deletion was begun", lambda pair, *_: pair.deleting_at is not None),
    (
        "its last token has ended",
        lambda pair, region_state, now, policy: (
            pair.state is KeyState.RETIRING
            and drains_at(pair, policy) <= now
            and not is_active_key_absent(region_state)
            and not _may_be_reactivated(pair, region_state)
        ),
    ),
    (
        "its private half is lost",
        lambda pair, region_state, now, policy: (
            pair.key_id in region_state.private_key_lost
            and pair.state is KeyState.PREPARED
            and (not pair.longest_ttl_seconds or drains_at(pair, policy) <= now)
            and not is_active_key_absent(region_state)
        ),
    ),
)


def _to_take_over(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | Wait | None:
    active, unfit = active_placement(region_state.placements), unusable_keys(region_state)
    if active is None or active.key_id in region_state.private_key_lost:  # where it is missing, that is proven first
        best = successor([p for p in region_state.placements if p.key_id not in unfit], now, policy.propagation_seconds)
        if best is not None and best.state is KeyState.RETIRING:
            return Step(StepKind.REACTIVATE, best.key_id, "no other key can sign there now")
    prepared = _prepared(region_state)
    following = min((p for p in prepared if not p.fingerprint_differs), key=_imported, default=None)
    if following is not None:
        leads_until = usable_from(following, policy.propagation_seconds)
        if leads_until <= now:
            return Step(StepKind.ACTIVATE, following.key_id, "IVS has held it for the lead")
        return Wait(leads_until, "IVS must hold the next key for the lead before it signs")
    if prepared:
        return Wait(None, f"IVS shows another fingerprint for key {prepared[0].key_id} than ours: somebody must look")
    if _free(region_state) > 0:
        return _to_bring(region_state, "another key is to sign")
    retiring = [p for p in region_state.placements if p.is_imported and p.state is KeyState.RETIRING]
    if not retiring:
        return Wait(None, "all slots are filled, and none of ours is on its way out: somebody must make room")
    drained = min(drains_at(p, policy) for p in retiring)
    return Wait(drained, "all slots are filled; one of ours goes when its last token has ended", for_drain=True)


def _to_stand_by(region_state: RegionState, policy: RotationPolicy) -> Step | None:
    """A standby never takes the last slot that a rotation needs: it is what the rotation would bring anyway."""
    if not policy.standby or _prepared(region_state) or _free(region_state) <= 0:
        return None
    return _to_bring(region_state, "a standby is to be ready")


def _to_bring(region_state: RegionState, reason: str) -> Step:
    if region_state.importable:
        return Step(StepKind.IMPORT, region_state.importable[0], reason)
    return Step(StepKind.GENERATE, None, reason)


def _prepared(region_state: RegionState) -> list[KeyPlacement]:
    unfit = unusable_keys(region_state)
    ready = [
        p for p in region_state.placements if p.state is KeyState.PREPARED and p.is_imported and p.deleting_at is None
    ]
    return [p for p in ready if p.key_id not in unfit]


def _free(region_state: RegionState) -> int:
    held = sum(pair.is_imported and pair.key_id not in region_state.absent_in_ivs for pair in region_state.placements)
    return KEY_PAIRS_MAX - region_state.foreign - held - len(region_state.unreadable)


def _imported(pair: KeyPlacement) -> datetime:
    return pair.imported_at


def _retiring(pair: KeyPlacement) -> datetime:
    return pair.retiring_at or pair.imported_at
