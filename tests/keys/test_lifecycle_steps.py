"""Which step is due in a region: each test takes one region state and expects a step, a wait, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.placements import (
    DRAIN_SECONDS,
    NOW,
    POLICY,
    PROPAGATION_SECONDS,
    active,
    ago,
    compromised,
    prepared,
    retired,
    retiring,
)
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


def region(*placements: KeyPlacement, **fields: Any) -> RegionState:
    return RegionState(placements, **fields)


def due(region_state: RegionState, policy: RotationPolicy = POLICY) -> Due | None:
    """The step that is due. There is never a wait at the same time."""
    step = next_step(region_state, NOW, policy)
    if step is not None:
        assert step.reason
        assert blocked_on(region_state, NOW, policy) is None
    return step and (step.kind, step.key_id)


def waits(region_state: RegionState, policy: RotationPolicy = POLICY) -> Wait:
    """What is waited for. No step is due at the same time."""
    assert due(region_state, policy) is None
    wait = blocked_on(region_state, NOW, policy)
    assert wait is not None
    return wait


def keys(*ids: str) -> frozenset[str]:
    return frozenset(ids)


# --- the first key


def test_the_first_key_is_generated_imported_and_activated() -> None:
    assert due(region()) == (GENERATE, None)
    assert due(region(importable=["k1"])) == (IMPORT, "k1")
    assert waits(region(prepared("k1", since=PROPAGATION_SECONDS - 1))).until == ago(-1)
    assert due(region(prepared("k1", since=PROPAGATION_SECONDS))) == (ACTIVATE, "k1")
    assert due(region(active("k1"))) is None
    assert blocked_on(region(active("k1")), NOW, POLICY) is None


def test_without_a_propagation_delay_a_key_is_activated_immediately() -> None:
    assert due(region(prepared("k1", since=0)), POLICY._replace(propagation_seconds=0)) == (ACTIVATE, "k1")


def test_the_first_importable_key_is_imported_first() -> None:
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
    ids=["none", "age", "request", "absent, unverified", "lost", "reactivated"],
)
def test_a_rotation_is_due(region_state: RegionState, policy: RotationPolicy) -> None:
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
    ids=["young", "no age", "replaced already", "only another key is affected"],
)
def test_no_rotation_is_due(region_state: RegionState, policy: RotationPolicy) -> None:
    assert not is_rotation_due(region_state, NOW, policy)
    assert due(region_state, policy) is None


def test_a_standby_takes_over_immediately() -> None:
    assert due(region(active("k1"), prepared("k2"), to_replace=keys("k1"))) == (ACTIVATE, "k2")


def test_the_key_that_was_imported_first_is_next() -> None:
    region_state = region(
        active("k1"),
        prepared("k3", since=PROPAGATION_SECONDS),
        prepared("k2", since=PROPAGATION_SECONDS + 1),
        to_replace=keys("k1"),
    )
    assert due(region_state) == (ACTIVATE, "k2")


def test_no_third_key_is_imported_during_the_propagation_delay_of_the_next() -> None:
    region_state = region(active("k1"), prepared("k2", since=1), to_replace=keys("k1"), importable=["k3"])
    assert waits(region_state, WITH_STANDBY).until == ago(1 - PROPAGATION_SECONDS)


# --- a full region


def test_a_full_region_waits_for_the_first_drain() -> None:
    region_state = region(retiring("k1", since=200), retiring("k2", since=100), active("k3"), to_replace=keys("k3"))
    assert waits(region_state).until == ago(200 - DRAIN_SECONDS)


def test_a_region_full_of_foreign_pairs_waits_for_an_operator() -> None:
    assert waits(region(foreign=3)).until is None
    assert waits(region(active("k1"), foreign=2, to_replace=keys("k1"))).until is None


def test_a_drained_key_frees_a_slot_and_the_rotation_continues() -> None:
    placements = retiring("k1", since=DRAIN_SECONDS), retiring("k2", since=100), active("k3")
    assert due(region(*placements, to_replace=keys("k3"))) == (DELETE, "k1")
    assert due(region(retired("k1"), *placements[1:], to_replace=keys("k3"))) == (GENERATE, None)


@pytest.mark.parametrize("account_verified", [True, False])
def test_a_pair_that_ivs_does_not_hold_uses_no_slot(account_verified: bool) -> None:
    region_state = region(
        active("k1"), foreign=2 if account_verified else 0, absent_in_ivs=keys("k1"), account_verified=account_verified
    )
    assert due(region_state) == (GENERATE, None)


# --- what must go


def test_a_retiring_key_is_deleted_when_it_has_drained_and_not_before() -> None:
    assert due(region(active("k2"), retiring("k1", since=DRAIN_SECONDS - 1))) is None
    assert due(region(active("k2"), retiring("k1", since=DRAIN_SECONDS))) == (DELETE, "k1")


def test_a_longer_token_lifetime_prolongs_the_drain() -> None:
    pair = retiring("k1", since=DRAIN_SECONDS, longest_ttl_seconds=86_400)
    assert due(region(active("k2"), pair)) is None


@pytest.mark.parametrize(
    "pair",
    [compromised("k1"), prepared("k1", deleting_at=NOW), retiring("k1", since=1, deleting_at=NOW)],
    ids=["compromised", "deletion started", "deletion started while draining"],
)
def test_a_compromised_pair_or_one_being_deleted_is_deleted_immediately(pair: KeyPlacement) -> None:
    assert due(region(active("k2"), pair)) == (DELETE, "k1")
    assert due(region(pair), POLICY) == (DELETE, "k1"), "even if no other key is active"


def test_a_standby_without_its_private_key_is_deleted_and_never_activated() -> None:
    assert due(region(active("k1"), prepared("k2"), private_key_lost=keys("k2"))) == (DELETE, "k2")
    cannot_go = region(
        active("k1"), prepared("k2"), to_replace=keys("k1"), deferred_deletions=keys("k2"), private_key_lost=keys("k2")
    )
    assert due(cannot_go) == (GENERATE, None)


@pytest.mark.parametrize("other", [retiring("k2", since=DRAIN_SECONDS), prepared("k2")], ids=["drained", "unused"])
def test_no_key_is_deleted_as_drained_or_unused_while_the_active_one_is_absent(other: KeyPlacement) -> None:
    """The store may be a restored one, and that key may have signed in the period it has lost."""
    assert due(region(active("k1"), other, private_key_lost=keys("k2"))) == (DELETE, "k2")
    region_state = region(
        active("k1"), other, private_key_lost=keys("k2"), absent_in_ivs=keys("k1"), recheck_at=ago(-5)
    )
    assert waits(region_state).until == ago(-5)
    assert due(region_state._replace(confirmed_absent=keys("k1"))) == (RECORD_ABSENCE, "k1")
    assert due(region_state._replace(configured=False)) == (DELETE, "k2")
    bad = compromised("k3")
    assert due(region_state._replace(placements=[*region_state.placements, bad])) == (DELETE, "k3"), (
        "a compromised pair is deleted in any case"
    )


def test_a_retiring_key_without_its_private_key_drains() -> None:
    assert due(region(active("k2"), retiring("k1", since=1), private_key_lost=keys("k1"))) is None
    assert due(region(active("k2"), retiring("k1", since=DRAIN_SECONDS), private_key_lost=keys("k1"))) == (DELETE, "k1")


def test_an_active_key_is_never_deleted() -> None:
    region_state = region(
        active("k1"), absent_in_ivs=keys("k1"), private_key_lost=keys("k1"), to_replace=keys("k1"), configured=False
    )
    assert due(region_state) is None


# --- pairs that IVS does not hold


def unconfirmed(*placements: KeyPlacement, absent_in_ivs: str, **fields: Any) -> RegionState:
    """A region where IVS has reported this key as not found once."""
    return region(*placements, absent_in_ivs=keys(absent_in_ivs), recheck_at=ago(-5), **fields)


def confirmed(*placements: KeyPlacement, absent_in_ivs: str, **fields: Any) -> RegionState:
    """A region where the absence of this key is confirmed."""
    return region(*placements, absent_in_ivs=keys(absent_in_ivs), confirmed_absent=keys(absent_in_ivs), **fields)


@pytest.mark.parametrize(
    "others",
    [(), (prepared("k2"),), (retiring("k2", since=1),), (retiring("k2", since=DRAIN_SECONDS),)],
    ids=["no other", "a standby", "a retiring key", "a drained key"],
)
def test_while_the_absence_of_the_active_key_is_unconfirmed_nothing_else_is_done(
    others: tuple[KeyPlacement, ...],
) -> None:
    wait = waits(unconfirmed(active("k1"), *others, absent_in_ivs="k1"), WITH_STANDBY)
    assert wait.until == ago(-5)
    assert "k1" in wait.reason


def test_the_absence_of_an_inactive_key_is_rechecked_too() -> None:
    assert waits(unconfirmed(active("k1"), prepared("k2"), absent_in_ivs="k2"), WITH_STANDBY).until == ago(-5)


def test_a_compromised_pair_is_deleted_even_if_it_is_absent() -> None:
    assert due(unconfirmed(active("k1"), compromised("k2"), absent_in_ivs="k2")) == (DELETE, "k2")


@pytest.mark.parametrize(
    "pair", [active("k1"), prepared("k1"), retiring("k1", since=1), compromised("k1")], ids=lambda pair: pair.state
)
@pytest.mark.parametrize("configured", [True, False])
def test_a_confirmed_absence_is_recorded(pair: KeyPlacement, configured: bool) -> None:
    region_state = confirmed(pair, retiring("k2", since=DRAIN_SECONDS), absent_in_ivs="k1", configured=configured)
    assert due(region_state) == (RECORD_ABSENCE, "k1")


def test_the_absence_of_the_active_key_is_recorded_first() -> None:
    region_state = region(
        prepared("k1"), active("k2"), absent_in_ivs=keys("k1", "k2"), confirmed_absent=keys("k1", "k2")
    )
    assert due(region_state) == (RECORD_ABSENCE, "k2")


def test_the_best_usable_key_takes_over_from_an_active_key_that_cannot_sign() -> None:
    led, fresh, early, late = prepared("k2"), prepared("k3", since=1), retiring("k4", since=9), retiring("k5", since=8)
    lost = keys("k1")
    assert due(region(active("k1"), early, late, fresh, led, private_key_lost=lost)) == (ACTIVATE, "k2")
    assert due(region(active("k1"), early, late, fresh, private_key_lost=lost)) == (REACTIVATE, "k5")
    assert due(region(active("k1"), early, late, fresh, private_key_lost=lost | keys("k5"))) == (REACTIVATE, "k4")
    assert waits(region(active("k1"), fresh, private_key_lost=lost)).until == ago(1 - PROPAGATION_SECONDS)
    assert due(region(early, late, fresh)) == (REACTIVATE, "k5"), "none is active"


def test_no_key_is_reactivated_for_an_absent_one_in_an_unverified_account() -> None:
    region_state = region(active("k1"), retiring("k2", since=1), absent_in_ivs=keys("k1"), account_verified=False)
    assert due(region_state) == (GENERATE, None)


def test_a_drained_key_is_not_deleted_while_it_may_be_reactivated() -> None:
    drained = retiring("k2", since=DRAIN_SECONDS)
    assert due(region(active("k1"), drained, private_key_lost=keys("k1"))) == (REACTIVATE, "k2")
    assert due(region(active("k1"), drained, private_key_lost=keys("k1", "k2"))) == (DELETE, "k2")
    assert due(region(active("k1"), drained, private_key_lost=keys("k1"), configured=False)) == (DELETE, "k2")


def test_a_reactivated_key_is_replaced_as_soon_as_another_can_sign() -> None:
    reactivated = active("k1", since=1, retiring_at=ago(100))
    assert due(region(reactivated, prepared("k2"))) == (ACTIVATE, "k2")


def test_nothing_absent_is_deleted_in_an_unverified_account() -> None:
    region_state = region(active("k1"), prepared("k2"), absent_in_ivs=keys("k1", "k2"), account_verified=False)
    assert due(region_state) == (GENERATE, None)


def test_the_most_urgent_deletion_comes_first() -> None:
    """Compromised, then started, drained, lost; and all of them before another key is imported."""
    worst_first = [
        compromised("k1"),
        prepared("k2", deleting_at=NOW),
        retiring("k3", since=DRAIN_SECONDS),
        prepared("k5"),
    ]
    signing = active("k0")
    left = list(worst_first)
    deleted = []
    while True:
        region_state = region(*reversed(left), signing, private_key_lost=keys("k5"), to_replace=keys("k0"))
        step = next_step(region_state, NOW, POLICY)
        assert step is not None
        if step.kind is not DELETE:
            break
        deleted.append(step.key_id)
        left = [pair for pair in left if pair.key_id != step.key_id]
    assert deleted == [pair.key_id for pair in worst_first]
    assert (step.kind, step.key_id) == (GENERATE, None)


def test_a_deletion_that_has_just_failed_delays_nothing() -> None:
    placements = active("k0"), compromised("k1"), retiring("k2", since=DRAIN_SECONDS)
    region_state = region(*placements, deferred_deletions=keys("k1"), to_replace=keys("k0"))
    assert due(region_state) == (DELETE, "k2")
    assert waits(region_state._replace(deferred_deletions=keys("k1", "k2"))).for_drain
    assert due(region(compromised("k1"), deferred_deletions=keys("k1"))) == (GENERATE, None)


def test_a_retired_pair_is_not_deleted_again() -> None:
    placements = retired("k1"), compromised("k2", retired_at=NOW), retired("k3", deleting_at=ago(9))
    assert due(region(active("k4"), *placements, absent_in_ivs=keys("k1", "k2", "k3"))) is None


def test_a_pair_that_reappears_after_its_key_retired_is_deleted() -> None:
    assert due(region(active("k2"), retired("k1", retired_at=None, deleting_at=NOW))) == (DELETE, "k1")


# --- the standby


def test_a_standby_is_imported_if_a_slot_is_free() -> None:
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
    ids=["there is one", "full of foreign pairs", "one drains", "one has another fingerprint"],
)
def test_no_standby_is_imported_if_there_is_one_or_no_slot_is_free(region_state: RegionState) -> None:
    assert due(region_state, WITH_STANDBY) is None


def test_a_rotation_comes_before_a_standby() -> None:
    region_state = region(active("k1"), prepared("k2"), to_replace=keys("k1"))
    assert due(region_state, WITH_STANDBY) == (ACTIVATE, "k2")


# --- fingerprints


def test_a_key_with_another_fingerprint_is_neither_activated_nor_replaced() -> None:
    region_state = region(prepared("k1", fingerprint_differs=True), importable=["k2"])
    wait = waits(region_state)
    assert wait.until is None
    assert "k1" in wait.reason
    assert "fingerprint" in wait.reason


def test_a_key_with_another_fingerprint_does_not_delay_a_standby() -> None:
    differing = prepared("k1", since=100, fingerprint_differs=True)
    assert due(region(differing, prepared("k2", since=PROPAGATION_SECONDS))) == (ACTIVATE, "k2")
    assert waits(region(differing, prepared("k2", since=1))).until == ago(1 - PROPAGATION_SECONDS)


# --- a region that is not wanted


def test_in_a_region_that_is_not_configured_keys_are_only_phased_out() -> None:
    assert due(region(configured=False), WITH_STANDBY) is None
    assert due(region(active("k1"), to_replace=keys("k1"), configured=False), WITH_STANDBY) is None
    assert due(region(prepared("k1"), configured=False)) is None
    assert due(region(active("k2"), retiring("k1", since=DRAIN_SECONDS), configured=False)) == (DELETE, "k1")
    assert due(region(compromised("k1"), configured=False)) == (DELETE, "k1")
    assert blocked_on(region(retiring("k1", since=1), configured=False), NOW, POLICY) is None


def test_a_step_names_its_reason() -> None:
    step = next_step(region(compromised("k1")), NOW, POLICY)
    assert step == Step(DELETE, "k1", "it is compromised")


def test_the_decision_depends_on_the_time() -> None:
    region_state = region(prepared("k1", since=0))
    assert next_step(region_state, NOW, POLICY) is None
    assert next_step(region_state, ago(-PROPAGATION_SECONDS), POLICY) == Step(
        ACTIVATE, "k1", "its propagation delay has passed"
    )
