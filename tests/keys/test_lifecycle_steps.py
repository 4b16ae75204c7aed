"""Which step is due in a region, as promises: each looks at one standing and names the step, the wait, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.placements import DRAIN, LEAD, NOW, POLICY, active, ago, compromised, prepared, retired, retiring
from tokensvc.deployment.record import RotationPolicy
from tokensvc.keys.lifecycle import (
    KeyPlacement,
    RegionState,
    Step,
    StepKind,
    Wait,
    blocked_on,
    is_rotation_due,
    next_step,
)

GENERATE, IMPORT, ACTIVATE, DELETE, REACTIVATE, RECORD_ABSENCE = StepKind
WITH_STANDBY = POLICY._replace(standby=True)
BY_AGE = POLICY._replace(max_age_seconds=10_000)
Due = tuple[StepKind, str | None]


def region(*pairs: KeyPlacement, **fields: Any) -> RegionState:
    return RegionState(pairs, **fields)


def due(region_state: RegionState, policy: RotationPolicy = POLICY) -> Due | None:
    """The step that is due; there is never a wait at the same time."""
    step = next_step(region_state, NOW, policy)
    if step is not None:
        assert step.reason
        assert blocked_on(region_state, NOW, policy) is None
    return step and (step.kind, step.key_id)


def waits(region_state: RegionState, policy: RotationPolicy = POLICY) -> Wait:
    """What is waited for; no step is due at the same time."""
    assert due(region_state, policy) is None
    wait = blocked_on(region_state, NOW, policy)
    assert wait is not None
    return wait


def keys(*ids: str) -> frozenset[str]:
    return frozenset(ids)


# --- the first key


def test_where_nothing_signs_a_key_is_made_then_imported_then_led_then_put_to_work() -> None:
    assert due(region()) == (GENERATE, None)
    assert due(region(importable=["k1"])) == (IMPORT, "k1")
    assert waits(region(prepared("k1", since=LEAD - 1))).until == ago(-1)
    assert due(region(prepared("k1", since=LEAD))) == (ACTIVATE, "k1")
    assert due(region(active("k1"))) is None
    assert blocked_on(region(active("k1")), NOW, POLICY) is None


def test_without_a_lead_a_key_signs_as_soon_as_ivs_holds_it() -> None:
    assert due(region(prepared("k1", since=0)), POLICY._replace(propagation_seconds=0)) == (ACTIVATE, "k1")


def test_the_spare_key_that_is_named_first_is_brought_first() -> None:
    assert due(region(importable=["k2", "k3"])) == (IMPORT, "k2")


# --- when another key is due


@pytest.mark.parametrize(
    ("region_state", "policy"),
    [
        (region(), POLICY),
        (region(active("k1", since=10_000)), BY_AGE),
        (region(active("k1"), to_replace=keys("k1")), POLICY),
        (region(active("k1"), absent_in_ivs=keys("k1"), account_verified=False), POLICY),
        (region(active("k1"), private_key_lost=keys("k1")), POLICY),
        (region(active("k1", retiring_at=ago(10))), POLICY),
    ],
    ids=["none", "age", "wish", "missing, perhaps", "lost", "reactivated"],
)
def test_another_key_is_due(region_state: RegionState, policy: RotationPolicy) -> None:
    assert is_rotation_due(region_state, NOW, policy)
    assert due(region_state, policy) == (GENERATE, None)


@pytest.mark.parametrize(
    ("region_state", "policy"),
    [
        (region(active("k1", since=9_999)), BY_AGE),
        (region(active("k1")), POLICY),
        (region(active("k2"), retired("k1"), to_replace=keys("k1")), POLICY),
        (
            region(active("k2"), retiring("k1", since=1), absent_in_ivs=keys("k3"), private_key_lost=keys("k1")),
            POLICY,
        ),
    ],
    ids=["young", "no age", "replaced already", "another's trouble"],
)
def test_no_other_key_is_due(region_state: RegionState, policy: RotationPolicy) -> None:
    assert not is_rotation_due(region_state, NOW, policy)
    assert due(region_state, policy) is None


def test_a_standby_takes_over_at_once() -> None:
    assert due(region(active("k1"), prepared("k2"), to_replace=keys("k1"))) == (ACTIVATE, "k2")


def test_the_key_that_leads_longest_is_next() -> None:
    region_state = region(
        active("k1"), prepared("k3", since=LEAD), prepared("k2", since=LEAD + 1), to_replace=keys("k1")
    )
    assert due(region_state) == (ACTIVATE, "k2")


def test_while_the_next_key_leads_no_third_is_brought() -> None:
    region_state = region(active("k1"), prepared("k2", since=1), to_replace=keys("k1"), importable=["k3"])
    assert waits(region_state, WITH_STANDBY).until == ago(1 - LEAD)


# --- a full region


def test_a_full_region_waits_for_the_first_drain() -> None:
    region_state = region(retiring("k1", since=200), retiring("k2", since=100), active("k3"), to_replace=keys("k3"))
    assert waits(region_state).until == ago(200 - DRAIN)


def test_a_region_that_others_fill_waits_for_somebody_to_make_room() -> None:
    assert waits(region(foreign=3)).until is None
    assert waits(region(active("k1"), foreign=2, to_replace=keys("k1"))).until is None


def test_what_has_drained_makes_room_and_then_the_rotation_goes_on() -> None:
    pairs = retiring("k1", since=DRAIN), retiring("k2", since=100), active("k3")
    assert due(region(*pairs, to_replace=keys("k3"))) == (DELETE, "k1")
    assert due(region(retired("k1"), *pairs[1:], to_replace=keys("k3"))) == (GENERATE, None)


@pytest.mark.parametrize("account_verified", [True, False])
def test_a_pair_that_ivs_does_not_hold_fills_no_slot(account_verified: bool) -> None:
    region_state = region(
        active("k1"), foreign=2 if account_verified else 0, absent_in_ivs=keys("k1"), account_verified=account_verified
    )
    assert due(region_state) == (GENERATE, None)


# --- what must go


def test_a_retiring_key_goes_when_it_has_drained_and_no_sooner() -> None:
    assert due(region(active("k2"), retiring("k1", since=DRAIN - 1))) is None
    assert due(region(active("k2"), retiring("k1", since=DRAIN))) == (DELETE, "k1")


def test_a_longer_life_prolongs_the_drain() -> None:
    pair = retiring("k1", since=DRAIN, longest_ttl_seconds=86_400)
    assert due(region(active("k2"), pair)) is None


@pytest.mark.parametrize(
    "pair",
    [compromised("k1"), prepared("k1", deleting_at=NOW), retiring("k1", since=1, deleting_at=NOW)],
    ids=["compromised", "begun", "begun while draining"],
)
def test_what_is_compromised_or_begun_to_be_deleted_goes_at_once(pair: KeyPlacement) -> None:
    assert due(region(active("k2"), pair)) == (DELETE, "k1")
    assert due(region(pair), POLICY) == (DELETE, "k1"), "even where no other key signs"


def test_a_standby_whose_private_half_is_lost_goes_and_never_signs() -> None:
    assert due(region(active("k1"), prepared("k2"), private_key_lost=keys("k2"))) == (DELETE, "k2")
    cannot_go = region(
        active("k1"), prepared("k2"), to_replace=keys("k1"), deferred_deletions=keys("k2"), private_key_lost=keys("k2")
    )
    assert due(cannot_go) == (GENERATE, None)


@pytest.mark.parametrize("other", [retiring("k2", since=DRAIN), prepared("k2")], ids=["drained", "unused"])
def test_no_key_is_deleted_as_drained_or_unused_while_the_one_that_signs_is_missing(other: KeyPlacement) -> None:
    """The store may be a restored one, and that key may have signed in the time it has forgotten."""
    assert due(region(active("k1"), other, private_key_lost=keys("k2"))) == (DELETE, "k2")
    region_state = region(
        active("k1"), other, private_key_lost=keys("k2"), absent_in_ivs=keys("k1"), recheck_at=ago(-5)
    )
    assert waits(region_state).until == ago(-5)
    assert due(region_state._replace(confirmed_absent=keys("k1"))) == (RECORD_ABSENCE, "k1")
    assert due(region_state._replace(configured=False)) == (DELETE, "k2")
    bad = compromised("k3")
    assert due(region_state._replace(placements=[*region_state.placements, bad])) == (DELETE, "k3"), (
        "what is compromised goes in any case"
    )


def test_a_retiring_key_whose_private_half_is_lost_drains() -> None:
    assert due(region(active("k2"), retiring("k1", since=1), private_key_lost=keys("k1"))) is None
    assert due(region(active("k2"), retiring("k1", since=DRAIN), private_key_lost=keys("k1"))) == (DELETE, "k1")


def test_an_active_key_is_never_deleted_whatever_is_wrong_with_it() -> None:
    region_state = region(
        active("k1"), absent_in_ivs=keys("k1"), private_key_lost=keys("k1"), to_replace=keys("k1"), configured=False
    )
    assert due(region_state) is None


# --- pairs that IVS does not hold


def unconfirmed(*pairs: KeyPlacement, absent_in_ivs: str, **fields: Any) -> RegionState:
    """IVS has said once that it does not hold this key."""
    return region(*pairs, absent_in_ivs=keys(absent_in_ivs), recheck_at=ago(-5), **fields)


def confirmed(*pairs: KeyPlacement, absent_in_ivs: str, **fields: Any) -> RegionState:
    """IVS is proven not to hold this key."""
    return region(*pairs, absent_in_ivs=keys(absent_in_ivs), confirmed_absent=keys(absent_in_ivs), **fields)


@pytest.mark.parametrize(
    "others",
    [(), (prepared("k2"),), (retiring("k2", since=1),), (retiring("k2", since=DRAIN),)],
    ids=["no other", "a standby", "one retires", "one has drained"],
)
def test_while_the_active_key_is_only_missing_nothing_is_done_but_to_ask_again(
    others: tuple[KeyPlacement, ...],
) -> None:
    wait = waits(unconfirmed(active("k1"), *others, absent_in_ivs="k1"), WITH_STANDBY)
    assert wait.until == ago(-5)
    assert "k1" in wait.reason


def test_a_missing_key_that_does_not_sign_is_asked_about_again_too() -> None:
    assert waits(unconfirmed(active("k1"), prepared("k2"), absent_in_ivs="k2"), WITH_STANDBY).until == ago(-5)


def test_what_is_compromised_goes_whether_it_is_missing_or_not() -> None:
    assert due(unconfirmed(active("k1"), compromised("k2"), absent_in_ivs="k2")) == (DELETE, "k2")


@pytest.mark.parametrize(
    "pair", [active("k1"), prepared("k1"), retiring("k1", since=1), compromised("k1")], ids=lambda pair: pair.state
)
@pytest.mark.parametrize("configured", [True, False])
def test_a_key_that_is_gone_is_recorded_as_such(pair: KeyPlacement, configured: bool) -> None:
    region_state = confirmed(pair, retiring("k2", since=DRAIN), absent_in_ivs="k1", configured=configured)
    assert due(region_state) == (RECORD_ABSENCE, "k1")


def test_the_one_that_signs_is_recorded_first() -> None:
    region_state = region(
        prepared("k1"), active("k2"), absent_in_ivs=keys("k1", "k2"), confirmed_absent=keys("k1", "k2")
    )
    assert due(region_state) == (RECORD_ABSENCE, "k2")


def test_where_the_active_key_cannot_sign_the_best_that_can_takes_over() -> None:
    led, fresh, early, late = prepared("k2"), prepared("k3", since=1), retiring("k4", since=9), retiring("k5", since=8)
    lost = keys("k1")
    assert due(region(active("k1"), early, late, fresh, led, private_key_lost=lost)) == (ACTIVATE, "k2")
    assert due(region(active("k1"), early, late, fresh, private_key_lost=lost)) == (REACTIVATE, "k5")
    assert due(region(active("k1"), early, late, fresh, private_key_lost=lost | keys("k5"))) == (REACTIVATE, "k4")
    assert waits(region(active("k1"), fresh, private_key_lost=lost)).until == ago(1 - LEAD)
    assert due(region(early, late, fresh)) == (REACTIVATE, "k5"), "none is active"


def test_no_key_is_reactivated_for_one_that_is_missing_where_the_account_may_be_another() -> None:
    region_state = region(active("k1"), retiring("k2", since=1), absent_in_ivs=keys("k1"), account_verified=False)
    assert due(region_state) == (GENERATE, None)


def test_one_that_has_drained_is_kept_while_it_may_be_reactivated_and_goes_otherwise() -> None:
    drained = retiring("k2", since=DRAIN)
    assert due(region(active("k1"), drained, private_key_lost=keys("k1"))) == (REACTIVATE, "k2")
    assert due(region(active("k1"), drained, private_key_lost=keys("k1", "k2"))) == (DELETE, "k2")
    assert due(region(active("k1"), drained, private_key_lost=keys("k1"), configured=False)) == (DELETE, "k2")


def test_a_reactivated_key_is_replaced_as_soon_as_another_can_sign() -> None:
    reactivated = active("k1", since=1, retiring_at=ago(100))
    assert due(region(reactivated, prepared("k2"))) == (ACTIVATE, "k2")


def test_nothing_is_deleted_for_being_missing_where_the_account_may_be_another() -> None:
    region_state = region(active("k1"), prepared("k2"), absent_in_ivs=keys("k1", "k2"), account_verified=False)
    assert due(region_state) == (GENERATE, None)


def test_the_worst_goes_first() -> None:
    """Compromised, then begun, drained, lost; and all of it before another key is brought."""
    worst_first = [
        compromised("k1"),
        prepared("k2", deleting_at=NOW),
        retiring("k3", since=DRAIN),
        prepared("k5"),
    ]
    signing = active("k0")
    left = list(worst_first)
    gone = []
    while True:
        region_state = region(*reversed(left), signing, private_key_lost=keys("k5"), to_replace=keys("k0"))
        step = next_step(region_state, NOW, POLICY)
        assert step is not None
        if step.kind is not DELETE:
            break
        gone.append(step.key_id)
        left = [pair for pair in left if pair.key_id != step.key_id]
    assert gone == [pair.key_id for pair in worst_first]
    assert (step.kind, step.key_id) == (GENERATE, None)


def test_a_deletion_that_was_tried_just_now_holds_nothing_up() -> None:
    pairs = active("k0"), compromised("k1"), retiring("k2", since=DRAIN)
    region_state = region(*pairs, deferred_deletions=keys("k1"), to_replace=keys("k0"))
    assert due(region_state) == (DELETE, "k2")
    assert waits(region_state._replace(deferred_deletions=keys("k1", "k2"))).for_drain
    assert due(region(compromised("k1"), deferred_deletions=keys("k1"))) == (GENERATE, None)


def test_what_is_gone_is_not_deleted_again() -> None:
    pairs = retired("k1"), compromised("k2", retired_at=NOW), retired("k3", deleting_at=ago(9))
    assert due(region(active("k4"), *pairs, absent_in_ivs=keys("k1", "k2", "k3"))) is None


def test_a_pair_that_turned_up_after_its_key_retired_goes() -> None:
    assert due(region(active("k2"), retired("k1", retired_at=None, deleting_at=NOW))) == (DELETE, "k1")


# --- the standby


def test_a_standby_is_brought_wherever_a_slot_is_free() -> None:
    assert due(region(active("k1")), WITH_STANDBY) == (GENERATE, None)
    assert due(region(active("k1"), importable=["k2"]), WITH_STANDBY) == (IMPORT, "k2")
    assert due(region(active("k1"), foreign=1, importable=["k2"]), WITH_STANDBY) == (IMPORT, "k2")


@pytest.mark.parametrize(
    "region_state",
    [
        region(active("k1"), prepared("k2")),
        region(active("k1"), foreign=2),
        region(active("k1"), retiring("k0", since=1), foreign=1),
        region(active("k1"), prepared("k2", fingerprint_differs=True)),
    ],
    ids=["there is one", "others fill it", "one drains", "one is in doubt"],
)
def test_no_standby_is_brought_where_one_stands_or_no_slot_is_free(region_state: RegionState) -> None:
    assert due(region_state, WITH_STANDBY) is None


def test_a_rotation_goes_before_a_standby() -> None:
    region_state = region(active("k1"), prepared("k2"), to_replace=keys("k1"))
    assert due(region_state, WITH_STANDBY) == (ACTIVATE, "k2")


# --- fingerprints


def test_a_key_whose_fingerprint_differs_is_never_put_to_work_and_no_other_is_made_in_its_place() -> None:
    region_state = region(prepared("k1", fingerprint_differs=True), importable=["k2"])
    wait = waits(region_state)
    assert wait.until is None
    assert "k1" in wait.reason
    assert "fingerprint" in wait.reason


def test_a_key_in_doubt_does_not_hold_up_another_that_stands_ready() -> None:
    doubtful = prepared("k1", since=100, fingerprint_differs=True)
    assert due(region(doubtful, prepared("k2", since=LEAD))) == (ACTIVATE, "k2")
    assert waits(region(doubtful, prepared("k2", since=1))).until == ago(1 - LEAD)


# --- a region that is not wanted


def test_in_a_region_that_is_not_wanted_things_only_end() -> None:
    assert due(region(configured=False), WITH_STANDBY) is None
    assert due(region(active("k1"), to_replace=keys("k1"), configured=False), WITH_STANDBY) is None
    assert due(region(prepared("k1"), configured=False)) is None
    assert due(region(active("k2"), retiring("k1", since=DRAIN), configured=False)) == (DELETE, "k1")
    assert due(region(compromised("k1"), configured=False)) == (DELETE, "k1")
    assert blocked_on(region(retiring("k1", since=1), configured=False), NOW, POLICY) is None


def test_a_step_says_why() -> None:
    step = next_step(region(compromised("k1")), NOW, POLICY)
    assert step == Step(DELETE, "k1", "it is compromised")


def test_the_same_standing_is_looked_at_anew_at_each_instant() -> None:
    region_state = region(prepared("k1", since=0))
    assert next_step(region_state, NOW, POLICY) is None
    assert next_step(region_state, ago(-LEAD), POLICY) == Step(ACTIVATE, "k1", "IVS has held it for the lead")
