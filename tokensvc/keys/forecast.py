"""Simulation of the key lifecycle in one region: the steps and waits that `--dry-run` prints.

Invariants
- It applies `lifecycle.next_step` repeatedly, as if each step succeeded and each wait elapsed, until nothing is due.
  Failures and the actions of other processes are not considered.
- A key that does not exist yet has the same placeholder, such as `(new key 1)`, in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tokensvc.aws.arn import AccountRegion
from tokensvc.deployment.record import RotationPolicy
from tokensvc.keys.lifecycle import (
    KeyPlacement,
    KeyState,
    RegionState,
    Step,
    StepKind,
    Wait,
    active_placement,
    blocked_on,
    next_step,
    successor,
    unusable_keys,
)

MAX_STEPS = 16
_UNKNOWN_ACCOUNT_REGION = AccountRegion("", "")


def plan(region_state: RegionState, now: datetime, policy: RotationPolicy) -> list[Step | Wait]:
    """The coming steps and waits, in order, until nothing is due or an operator must act."""
    planned: list[Step | Wait] = []
    new_keys = 0
    while len(planned) < MAX_STEPS:
        step = next_step(region_state, now, policy)
        wait = blocked_on(region_state, now, policy) if step is None else None
        if step is not None:
            if step.kind is StepKind.GENERATE:
                new_keys += 1
                step = step._replace(key_id=f"(new key {new_keys})")
            planned.append(step)
            region_state = _after(region_state, step, now, policy.propagation_seconds)
        elif wait is not None:
            planned.append(wait)
            if wait.until is None or wait.until <= now:
                break
            now = wait.until
        else:
            break
    return planned


def _after(region_state: RegionState, step: Step, now: datetime, propagation_seconds: float) -> RegionState:
    """The region's state after a step. The step must name its key."""
    key_id = str(step.key_id)
    placements = list(region_state.placements)
    match step.kind:
        case StepKind.GENERATE:
            return region_state._replace(importable=[key_id, *region_state.importable])
        case StepKind.IMPORT:
            imported = KeyPlacement(key_id, _UNKNOWN_ACCOUNT_REGION, KeyState.PREPARED, "", now)
            return region_state._replace(
                placements=[*placements, imported],
                importable=[k for k in region_state.importable if k != key_id],
            )
        case StepKind.ACTIVATE | StepKind.REACTIVATE:
            former = active_placement(placements)
            return region_state._replace(placements=[_after_activation(p, key_id, former, now) for p in placements])
        case StepKind.RECORD_ABSENCE:
            return _after_absence(region_state, key_id, now, propagation_seconds)
        case StepKind.DELETE:
            return region_state._replace(placements=_after_removal(placements, key_id, now))


def _after_absence(region_state: RegionState, key_id: str, now: datetime, propagation_seconds: float) -> RegionState:
    was_active = any(p.key_id == key_id and p.state is KeyState.ACTIVE for p in region_state.placements)
    placements = _after_removal(region_state.placements, key_id, now)
    usable = [p for p in placements if p.key_id not in unusable_keys(region_state)]
    region_state = region_state._replace(
        absent_in_ivs=region_state.absent_in_ivs - {key_id}, confirmed_absent=region_state.confirmed_absent - {key_id}
    )
    if not was_active:
        return region_state._replace(placements=placements)
    best = successor(usable, now, propagation_seconds)
    longest = max(p.longest_ttl_seconds for p in placements)
    return region_state._replace(
        placements=[
            _after_activation(p, p.key_id, None, now) if p == best else _with_new_drain(p, longest, now)
            for p in placements
        ]
    )


def _with_new_drain(placement: KeyPlacement, longest_ttl_seconds: int, now: datetime) -> KeyPlacement:
    """A key that may have signed in a period that the store has lost. The deployment's TTL limit is not known here; the
    key that was active last has it as its longest lifetime, unless the limit was lowered since."""
    if placement.state not in {KeyState.PREPARED, KeyState.RETIRING}:
        return placement
    longest = max(placement.longest_ttl_seconds, longest_ttl_seconds)
    return placement._replace(retiring_at=now, longest_ttl_seconds=longest)


def _after_activation(placement: KeyPlacement, key_id: str, former: KeyPlacement | None, now: datetime) -> KeyPlacement:
    if placement.key_id == key_id:
        drain_started_at = placement.retiring_at if placement.state is KeyState.RETIRING else None
        return placement._replace(state=KeyState.ACTIVE, activated_at=now, retiring_at=drain_started_at)
    if former is not None and placement.key_id == former.key_id:
        return placement._replace(state=KeyState.RETIRING, retiring_at=now)
    return placement


def _after_removal(placements: Sequence[KeyPlacement], key_id: str, now: datetime) -> list[KeyPlacement]:
    return [p._replace(state=_removed_state(p), retired_at=now) if p.key_id == key_id else p for p in placements]


def _removed_state(placement: KeyPlacement) -> KeyState:
    return placement.state if placement.state is KeyState.COMPROMISED else KeyState.RETIRED
