"""Key pair lifecycle in one account and region: the allowed transitions, and the step that is due.

Invariants
- A key is prepared (imported in IVS, signs nothing yet), active (signs), retiring (signs no more; IVS still accepts its
  tokens), retired (no longer in IVS) or compromised (must not be in IVS).
- Publish before use: only a prepared key becomes active, automatically only after the propagation delay. Drain before
  delete: a retiring key's pair is deleted when its last token has expired. A compromised pair is deleted immediately.
- An active key that IVS does not hold may mean that the store was restored from a backup, and that other keys signed in
  the period the store has lost. So nothing is deleted as drained or unused until the absence is confirmed; after that,
  every drain starts anew.
- A retiring key is reactivated when no better key can sign: after a compromise, when IVS does not hold the active key,
  when the active key's private key is lost, or when an operator asks for it. It is not deleted while it may be needed.
- A pair that no list shows is absent; it is confirmed absent once that is proven (`keys/absences.py`). Only a confirmed
  absence changes what is recorded.
- `next_step` is pure and sees one region. The store checks each transition against TRANSITIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import Action, Conflict, KeyNotFound, Remedy
from tokensvc.keys.rotation_policy import MAX_KEY_PAIRS


class KeyState(StrEnum):
    """State of a key pair in one account and region."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    COMPROMISED = "compromised"


TRANSITIONS: dict[KeyState, frozenset[KeyState]] = {
    KeyState.PREPARED: frozenset({KeyState.ACTIVE, KeyState.RETIRED, KeyState.COMPROMISED}),
    KeyState.ACTIVE: frozenset({KeyState.RETIRING, KeyState.RETIRED, KeyState.COMPROMISED}),
    KeyState.RETIRING: frozenset({KeyState.RETIRED, KeyState.COMPROMISED, KeyState.ACTIVE}),
    KeyState.RETIRED: frozenset({KeyState.COMPROMISED}),
    KeyState.COMPROMISED: frozenset(),
}
"""For each state, the states that may follow it. The diagram in the README is generated from this table (`diagram`)."""

ACCEPTED_STATES = frozenset({KeyState.PREPARED, KeyState.ACTIVE, KeyState.RETIRING})
"""States in which IVS accepts the key's tokens, as it should."""


class KeyPlacement(NamedTuple):
    """One of our key pairs in one account and region."""

    key_id: str
    account_region: AccountRegion
    state: KeyState
    arn: str
    imported_at: datetime
    activated_at: datetime | None = None
    retiring_at: datetime | None = None
    """When its drain started: when another key took over or, for a prepared key, when it was found that it may have
    signed in a period that a restored store has lost. An active key with this field set was reactivated."""
    retired_at: datetime | None = None
    """When IVS stopped holding the pair, whatever its state was."""
    compromised_at: datetime | None = None
    deleting_at: datetime | None = None
    """When its deletion started. From then on it never signs again."""
    longest_ttl_seconds: int = 0
    """Longest lifetime that a token signed with it here may have. 0 until it is first active, unless another program
    signed with it or it may have signed in a period that a restored store has lost. It is only ever raised."""
    fingerprint_differs: bool = False
    """IVS reports a different fingerprint than ours. Only an operator may activate the key; the reconciler does not."""

    @property
    def is_imported(self) -> bool:
        """Whether IVS holds the public key as far as we know, so that the pair uses a slot."""
        return self.retired_at is None


class UnreadablePlacement(NamedTuple):
    """A key pair in one account and region whose row in the store cannot be read.

    IVS may hold the pair, and its tokens may still be valid. So it uses a slot, counts as ours, and is left unchanged:
    it does not sign, changes no state and is not deleted.
    """

    key_id: str
    account_region: AccountRegion
    arn: str
    is_imported: bool
    """False if the row at least says that IVS no longer holds it."""


class KeyRecord(NamedTuple):
    """One of our key pairs. A record without placements was created but is not (yet) known to be in IVS. If it is also
    damaged, its placements are unknown, and it is neither reused nor discarded."""

    id: str
    fingerprint: str
    public_der: bytes
    created_at: datetime
    placements: tuple[KeyPlacement, ...]
    """Those that can be read."""
    compromised_at: datetime | None = None
    damage: str = ""
    """Why its own row, or the row of one of its placements, cannot be read."""
    unreadable: tuple[UnreadablePlacement, ...] = ()

    @property
    def all_placements(self) -> list[KeyPlacement | UnreadablePlacement]:
        """Its placements, readable or not."""
        return [*self.placements, *self.unreadable]

    def require_readable(self) -> None:
        """Raises Conflict if part of the record cannot be read; call before reusing or discarding the key."""
        if self.damage:
            raise Conflict(
                f"key {self.id} cannot be changed because its record in the store cannot be read: {self.damage}",
                subject={"key_id": self.id},
                remedy=Remedy(Action.DIAGNOSE),
            )


class StepKind(StrEnum):
    """Kinds of steps."""

    GENERATE = "generate"
    IMPORT = "import"
    ACTIVATE = "activate"
    DELETE = "delete"
    REACTIVATE = "reactivate"
    """A retiring key signs again until a better one is ready."""
    RECORD_ABSENCE = "record_absence"
    """IVS does not hold the pair, so the key no longer signs. If it was active, the best other key takes over."""


class Step(NamedTuple):
    """One idempotent step. `key_id` is None for a key that does not exist yet."""

    kind: StepKind
    key_id: str | None
    reason: str


class Wait(NamedTuple):
    """Nothing can be done before `until`, or, if that is None, before an operator acts."""

    until: datetime | None
    reason: str
    for_drain: bool = False
    """Whether it ends with a drain, which takes hours rather than seconds."""


class RegionState(NamedTuple):
    """Everything that `next_step` considers: the state of one region."""

    placements: Sequence[KeyPlacement]
    """Our keys in the region, in any state."""
    importable: Sequence[str] = ()
    """Ids of our keys that may be imported: in the vault, and never in this region before. The first is used next."""
    foreign: int = 0
    """Number of key pairs in the region that are not ours."""
    to_replace: frozenset[str] = frozenset()
    """Keys whose replacement in the region was requested."""
    absent_in_ivs: frozenset[str] = frozenset()
    """Keys recorded as imported that no list shows, and that IVS has reported as not found at least once."""
    confirmed_absent: frozenset[str] = frozenset()
    """Those of `absent_in_ivs` that are proven to be absent."""
    recheck_at: datetime | None = None
    """When the next response of IVS may prove the absence of the others."""
    account_verified: bool = True
    """Whether IVS was seen to hold pairs of our account. If not, these may be credentials for another account, so
    nothing is recorded or deleted because it is absent. Another key may still be imported: its ARN shows the account.
    """
    private_key_lost: frozenset[str] = frozenset()
    """Keys whose private key is no longer in the vault or cannot be decrypted."""
    deferred_deletions: frozenset[str] = frozenset()
    """Keys whose deletion has just failed."""
    unreadable: frozenset[str] = frozenset()
    """ARNs of our pairs whose rows in the store cannot be read."""
    configured: bool = True
    """Whether the settings name the region. If not, its keys are only phased out."""


def next_step(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | None:
    """The step that is due, or None."""
    decision = _decide(region_state, now, policy)
    return decision if isinstance(decision, Step) else None


def blocked_on(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Wait | None:
    """What a due rotation waits for. None if a step is due, or if no rotation is."""
    decision = _decide(region_state, now, policy)
    return decision if isinstance(decision, Wait) else None


def is_rotation_due(region_state: RegionState, now: datetime, policy: RotationPolicy) -> bool:
    """Whether another key should become active: there is no usable active key, the active key is too old or was only
    reactivated, or its replacement was requested."""
    active = active_placement(region_state.placements)
    if active is None or active.activated_at is None or active.key_id in unusable_keys(region_state):
        return True
    if active.retiring_at is not None:  # it was retiring when it was reactivated
        return True
    if active.key_id in region_state.to_replace:
        return True
    return policy.max_age_seconds is not None and now >= active.activated_at + timedelta(seconds=policy.max_age_seconds)


def active_placement(placements: Sequence[KeyPlacement]) -> KeyPlacement | None:
    """The active one of these placements in one region."""
    return next((p for p in placements if p.state is KeyState.ACTIVE), None)


def was_activated_again(placement: KeyPlacement, requested_at: datetime) -> bool:
    """Whether an operator has activated this key since its replacement was requested, so that the request is settled.
    A key that was only reactivated until another one can sign does not count."""
    return (
        placement.retiring_at is None and placement.activated_at is not None and placement.activated_at > requested_at
    )


def placements_in(records: Sequence[KeyRecord], region: str) -> list[KeyPlacement]:
    """The placements of these keys in one region."""
    return [p for record in records for p in record.placements if p.account_region.region == region]


def drains_at(placement: KeyPlacement, policy: RotationPolicy) -> datetime:
    """When the last token that the key may have signed there expires."""
    started_at = placement.retiring_at or placement.imported_at
    return started_at + timedelta(seconds=policy.drain_seconds(placement.longest_ttl_seconds))


def usable_from(placement: KeyPlacement, propagation_seconds: float) -> datetime:
    """When IVS has held the key for the propagation delay."""
    return placement.imported_at + timedelta(seconds=propagation_seconds)


def successor(placements: Sequence[KeyPlacement], now: datetime, propagation_seconds: float) -> KeyPlacement | None:
    """The best key that can take over immediately: the prepared one that was imported first, else the retiring one
    whose drain started last."""
    usable = [p for p in placements if p.is_imported and p.deleting_at is None and not p.fingerprint_differs]
    ready = [p for p in usable if p.state is KeyState.PREPARED and usable_from(p, propagation_seconds) <= now]
    retiring = [p for p in usable if p.state is KeyState.RETIRING]
    return min(ready, key=_imported_at, default=None) or max(retiring, key=_retiring_at, default=None)


def require_key(records: Sequence[KeyRecord], key_id: str) -> KeyRecord:
    """The record of this key. Raises KeyNotFound."""
    found = next((record for record in records if record.id == key_id), None)
    if found is None:
        raise KeyNotFound(f"there is no key {key_id}", subject={"key_id": key_id})
    return found


def diagram() -> str:
    """The states and transitions as a Mermaid state diagram."""
    arrows = [f"    {state} --> {to}" for state in KeyState for to in KeyState if to in TRANSITIONS[state]]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {KeyState.PREPARED}", *arrows])


def unusable_keys(region_state: RegionState) -> frozenset[str]:
    """Keys whose tokens cannot start playback, or that cannot sign."""
    return region_state.absent_in_ivs | region_state.private_key_lost


def is_active_key_absent(region_state: RegionState) -> bool:
    """Whether IVS has reported the active key as not found, so that the store may be a restored one. Always False in a
    region that is not configured: its keys are only phased out."""
    active = active_placement(region_state.placements)
    return region_state.configured and active is not None and active.key_id in region_state.absent_in_ivs


def _decide(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | Wait | None:
    removal = _absence_step(region_state) or _delete_step(region_state, now, policy)
    if removal is not None or not region_state.configured:
        return removal
    active = active_placement(region_state.placements)
    if region_state.recheck_at is not None and (active is None or active.key_id not in region_state.private_key_lost):
        absent = ", ".join(sorted(region_state.absent_in_ivs - region_state.confirmed_absent))
        return Wait(
            region_state.recheck_at,
            f"IVS reports that it does not hold key {absent}; it will be asked once more to confirm",
        )
    rotation = _rotation_step(region_state, now, policy) if is_rotation_due(region_state, now, policy) else None
    return rotation or _standby_step(region_state, policy)


def _absence_step(region_state: RegionState) -> Step | None:
    """The active key comes first."""
    absent = [p for p in region_state.placements if p.is_imported and p.key_id in region_state.confirmed_absent]
    first = active_placement(absent) or next(iter(absent), None)
    return Step(StepKind.RECORD_ABSENCE, first.key_id, "IVS no longer holds it") if first is not None else None


def _may_be_reactivated(placement: KeyPlacement, region_state: RegionState) -> bool:
    """Whether the region has no usable active key, and this retiring key could sign instead."""
    active, unusable = active_placement(region_state.placements), unusable_keys(region_state)
    if not region_state.configured or (active is not None and active.key_id not in unusable):
        return False
    return placement.key_id not in unusable and placement.deleting_at is None and not placement.fingerprint_differs


def _delete_step(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | None:
    """The most urgent deletion."""
    for reason, applies in _DELETE_RULES:
        for p in region_state.placements:
            if (
                p.is_imported
                and p.key_id not in region_state.deferred_deletions
                and applies(p, region_state, now, policy)
            ):
                return Step(StepKind.DELETE, p.key_id, reason)
    return None


_Applies = Callable[[KeyPlacement, RegionState, datetime, RotationPolicy], bool]
_DELETE_RULES: tuple[tuple[str, _Applies], ...] = (
    ("it is compromised", lambda placement, *_: placement.state is KeyState.COMPROMISED),
    ("its deletion was started", lambda placement, *_: placement.deleting_at is not None),
    (
        "its last token has expired",
        lambda placement, region_state, now, policy: (
            placement.state is KeyState.RETIRING
            and drains_at(placement, policy) <= now
            and not is_active_key_absent(region_state)
            and not _may_be_reactivated(placement, region_state)
        ),
    ),
    (
        "its private key is lost",
        lambda placement, region_state, now, policy: (
            placement.key_id in region_state.private_key_lost
            and placement.state is KeyState.PREPARED
            and (not placement.longest_ttl_seconds or drains_at(placement, policy) <= now)
            and not is_active_key_absent(region_state)
        ),
    ),
)


def _rotation_step(region_state: RegionState, now: datetime, policy: RotationPolicy) -> Step | Wait | None:
    active, unusable = active_placement(region_state.placements), unusable_keys(region_state)
    if active is None or active.key_id in region_state.private_key_lost:  # if it is absent, that is confirmed first
        usable = [p for p in region_state.placements if p.key_id not in unusable]
        best = successor(usable, now, policy.propagation_seconds)
        if best is not None and best.state is KeyState.RETIRING:
            return Step(StepKind.REACTIVATE, best.key_id, "no other key can sign there now")
    prepared = _prepared(region_state)
    following = min((p for p in prepared if not p.fingerprint_differs), key=_imported_at, default=None)
    if following is not None:
        ready_at = usable_from(following, policy.propagation_seconds)
        if ready_at <= now:
            return Step(StepKind.ACTIVATE, following.key_id, "its propagation delay has passed")
        return Wait(ready_at, "the next key can sign once its propagation delay has passed")
    if prepared:
        key_id = prepared[0].key_id
        return Wait(None, f"IVS reports a different fingerprint for key {key_id} than ours: check it, then activate it")
    if _free_slots(region_state) > 0:
        return _provision_step(region_state, "a new active key is needed")
    retiring = [p for p in region_state.placements if p.is_imported and p.state is KeyState.RETIRING]
    if not retiring:
        return Wait(None, "all key slots are in use and none of our keys is draining: free a slot")
    return Wait(
        min(drains_at(p, policy) for p in retiring),
        "all key slots are in use; one is freed when the last token of a retiring key has expired",
        for_drain=True,
    )


def _standby_step(region_state: RegionState, policy: RotationPolicy) -> Step | None:
    """A standby may take the last free slot: a rotation would import the same key."""
    if not policy.standby or _prepared(region_state) or _free_slots(region_state) <= 0:
        return None
    return _provision_step(region_state, "the policy requires a standby key")


def _provision_step(region_state: RegionState, reason: str) -> Step:
    if region_state.importable:
        return Step(StepKind.IMPORT, region_state.importable[0], reason)
    return Step(StepKind.GENERATE, None, reason)


def _prepared(region_state: RegionState) -> list[KeyPlacement]:
    unusable = unusable_keys(region_state)
    return [
        p
        for p in region_state.placements
        if p.state is KeyState.PREPARED and p.is_imported and p.deleting_at is None and p.key_id not in unusable
    ]


def _free_slots(region_state: RegionState) -> int:
    ours = sum(p.is_imported and p.key_id not in region_state.absent_in_ivs for p in region_state.placements)
    return MAX_KEY_PAIRS - region_state.foreign - ours - len(region_state.unreadable)


def _imported_at(placement: KeyPlacement) -> datetime:
    return placement.imported_at


def _retiring_at(placement: KeyPlacement) -> datetime:
    return placement.retiring_at or placement.imported_at
