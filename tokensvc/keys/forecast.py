"""What the lifecycle would do in a region from now on, without doing it: what `--dry-run` prints.

Rules of the file
- It plays `lifecycle.decide` forward, each step as if it went well and each wait as if the time had passed, until
  nothing is due. Nobody else's doings, and no failure, can be foreseen.
- A key that is still to be made has the same name, `(new key 1)`, in every step.
"""

from __future__ import annotations

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

STEPS_MAX = 16
_SOMEWHERE = AccountRegion("", "")


def plan(region_state: RegionState, now: datetime, policy: RotationPolicy) -> list[Step | Wait]:
    """The steps and waits to come, in order, until nothing is due or only somebody can help."""
    coming: list[Step | Wait] = []
    made = 0
    while len(coming) < STEPS_MAX:
        step = next_step(region_state, now, policy)
        wait = blocked_on(region_state, now, policy) if step is None else None
        if step is not None:
            if step.kind is StepKind.GENERATE:
                made += 1
                step = step._replace(key_id=f"(new key {made})")
            coming.append(step)
            region_state = _after(region_state, step, now, policy.propagation_seconds)
        elif wait is not None:
            coming.append(wait)
            if wait.until is None or wait.until <= now:
                break
            now = wait.until
        else:
            break
    return coming


def _after(region_state: RegionState, step: Step, now: datetime, propagation_seconds: float) -> RegionState:
    """How things stand once a step was taken, whose key has a name."""
    key_id = str(step.key_id)
    pairs = list(region_state.placements)
    match step.kind:
        case StepKind.GENERATE:
            return region_state._replace(importable=[key_id, *region_state.importable])
        case StepKind.IMPORT:
            brought = KeyPlacement(key_id, _SOMEWHERE, KeyState.PREPARED, "", now)
            return region_state._replace(
                placements=[*pairs, brought], importable=[k for k in region_state.importable if k != key_id]
            )
        case StepKind.ACTIVATE | StepKind.REACTIVATE:
            former = active_placement(pairs)
            moved = [_activated(pair, key_id, former, now) for pair in pairs]
            return region_state._replace(placements=moved)
        case StepKind.RECORD_ABSENCE:
            absent = region_state._replace(
                absent_in_ivs=region_state.absent_in_ivs - {key_id},
                confirmed_absent=region_state.confirmed_absent - {key_id},
            )
            signed = any(pair.key_id == key_id and pair.state is KeyState.ACTIVE for pair in pairs)
            pairs = [p._replace(state=_ended(p), retired_at=now) if p.key_id == key_id else p for p in pairs]
            fit = [pair for pair in pairs if pair.key_id not in unusable_keys(region_state)]
            if not signed:
                return absent._replace(placements=pairs)
            best = successor(fit, now, propagation_seconds)
            longest = max(pair.longest_ttl_seconds for pair in pairs)
            return absent._replace(
                placements=[
                    _activated(p, p.key_id, None, now) if p == best else _draining(p, longest, now) for p in pairs
                ]
            )
        case StepKind.DELETE:
            gone = [p._replace(state=_ended(p), retired_at=now) if p.key_id == key_id else p for p in pairs]
            return region_state._replace(placements=gone)


def _draining(pair: KeyPlacement, longest_ttl_seconds: int, now: datetime) -> KeyPlacement:
    """A key that may have signed at a time that the store has forgotten. The deployment's limit is not known here: the
    key that signed last has it, unless the limit was lowered."""
    if pair.state not in {KeyState.PREPARED, KeyState.RETIRING}:
        return pair
    longest = max(pair.longest_ttl_seconds, longest_ttl_seconds)
    return pair._replace(retiring_at=now, longest_ttl_seconds=longest)


def _activated(pair: KeyPlacement, key_id: str, former: KeyPlacement | None, now: datetime) -> KeyPlacement:
    if pair.key_id == key_id:
        stands_in_since = pair.retiring_at if pair.state is KeyState.RETIRING else None
        return pair._replace(state=KeyState.ACTIVE, activated_at=now, retiring_at=stands_in_since)
    if former is not None and pair.key_id == former.key_id:
        return pair._replace(state=KeyState.RETIRING, retiring_at=now)
    return pair


def _ended(pair: KeyPlacement) -> KeyState:
    return pair.state if pair.state is KeyState.COMPROMISED else KeyState.RETIRED
