"""The policy of rotation: what is derived from what, and what cannot hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import InvalidRotationPolicy
from tokensvc.keys.rotation_policy import (
    MAX_KEY_PAIRS,
    MIN_SLOTS,
    PROPAGATION_SECONDS,
    check_policy,
    check_slots,
    max_staleness_seconds,
)

REACH = 910
LEAST = 30 + REACH + 3600 + CLOCK_SKEW_SECONDS
"""The shortest maximum age that holds with a lead of 30 seconds and tokens of an hour."""


def test_the_reach_is_lease_and_store_timeout_and_skew() -> None:
    assert max_staleness_seconds(900, 5) == 900 + 5 + CLOCK_SKEW_SECONDS


def test_a_key_drains_for_the_reach_and_its_longest_token_and_the_skew() -> None:
    assert RotationPolicy(30, REACH).drain_seconds(3600) == REACH + 3600 + CLOCK_SKEW_SECONDS


@pytest.mark.parametrize(
    "policy",
    [
        RotationPolicy(30, REACH),
        RotationPolicy(0, REACH),
        RotationPolicy(PROPAGATION_SECONDS, REACH),
        RotationPolicy(30, REACH, LEAST),
        RotationPolicy(30, REACH, LEAST, standby=False),
    ],
    ids=str,
)
def test_a_policy_that_holds_is_taken(policy: RotationPolicy) -> None:
    check_policy(policy, 3600)


def test_a_lead_shorter_than_it_takes_to_hear_is_refused() -> None:
    with pytest.raises(
        InvalidRotationPolicy, match=r"propagation delay of 1.9 s is shorter than the 2 s within which workers learn"
    ):
        check_policy(RotationPolicy(1.9, REACH), 3600)


def test_a_maximum_age_shorter_than_lead_and_drain_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(InvalidRotationPolicy) as raised:
        check_policy(RotationPolicy(30, REACH, LEAST - 1), 3600)
    for part in (
        f"maximum age of {LEAST - 1} s",
        f"= 30 + {LEAST - 30} = {LEAST} s",
        f"maximum staleness {REACH}",
        "token lifetime 3600",
    ):
        assert part in raised.value.message


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidRotationPolicy, match=r"propagation delay of 1 s.*; the maximum age of 60 s"):
        check_policy(RotationPolicy(1, REACH, 60), 3600)


@given(
    lead=st.one_of(st.just(0.0), st.floats(PROPAGATION_SECONDS, 86_400)),
    reach=st.floats(10, 90_000),
    age=st.floats(1, 400_000),
    ceiling=st.integers(1, 86_400),
)
def test_under_a_policy_that_is_taken_a_key_has_drained_before_the_one_after_it_is_too_old(
    lead: float, reach: float, age: float, ceiling: int
) -> None:
    """So that two slots are enough for ever: one that signs, one that drains or leads."""
    policy = RotationPolicy(lead, reach, age)
    needed = lead + policy.drain_seconds(ceiling)
    try:
        check_policy(policy, ceiling)
    except InvalidRotationPolicy:
        assert age < needed
    else:
        assert age >= needed


@pytest.mark.parametrize("foreign", range(MAX_KEY_PAIRS - MIN_SLOTS + 1))
def test_two_slots_are_enough(foreign: int) -> None:
    check_slots("us-east-1", foreign)


@pytest.mark.parametrize("foreign", [2, 3])
def test_fewer_than_two_slots_are_refused_with_the_arithmetic(foreign: int) -> None:
    left = rf"{foreign} of the 3 key pair slots in us-east-1 .* leaves {MAX_KEY_PAIRS - foreign}; .* needs 2"
    with pytest.raises(InvalidRotationPolicy, match=left):
        check_slots("us-east-1", foreign)
