"""The rotation policy: what is derived, and which policies are rejected."""

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

MAX_STALENESS = 910
MIN_AGE = 30 + MAX_STALENESS + 3600 + CLOCK_SKEW_SECONDS
"""The shortest valid maximum age for a propagation delay of 30 seconds and tokens of an hour."""


def test_maximum_staleness_is_lease_plus_store_timeout_plus_skew() -> None:
    assert max_staleness_seconds(900, 5) == 900 + 5 + CLOCK_SKEW_SECONDS


def test_a_drain_is_maximum_staleness_plus_longest_token_plus_skew() -> None:
    assert RotationPolicy(30, MAX_STALENESS).drain_seconds(3600) == MAX_STALENESS + 3600 + CLOCK_SKEW_SECONDS


@pytest.mark.parametrize(
    "policy",
    [
        RotationPolicy(30, MAX_STALENESS),
        RotationPolicy(0, MAX_STALENESS),
        RotationPolicy(PROPAGATION_SECONDS, MAX_STALENESS),
        RotationPolicy(30, MAX_STALENESS, MIN_AGE),
        RotationPolicy(30, MAX_STALENESS, MIN_AGE, standby=False),
    ],
    ids=str,
)
def test_a_possible_policy_is_accepted(policy: RotationPolicy) -> None:
    check_policy(policy, 3600)


def test_a_propagation_delay_that_is_too_short_is_rejected() -> None:
    with pytest.raises(
        InvalidRotationPolicy, match=r"propagation delay of 1.9 s is shorter than the 2 s within which workers learn"
    ):
        check_policy(RotationPolicy(1.9, MAX_STALENESS), 3600)


def test_a_maximum_age_that_is_too_short_is_rejected_with_the_calculation() -> None:
    with pytest.raises(InvalidRotationPolicy) as raised:
        check_policy(RotationPolicy(30, MAX_STALENESS, MIN_AGE - 1), 3600)
    for part in (
        f"maximum age of {MIN_AGE - 1} s",
        f"= 30 + {MIN_AGE - 30} = {MIN_AGE} s",
        f"maximum staleness {MAX_STALENESS}",
        "token lifetime 3600",
    ):
        assert part in raised.value.message


def test_all_violations_are_reported_together() -> None:
    with pytest.raises(InvalidRotationPolicy, match=r"propagation delay of 1 s.*; the maximum age of 60 s"):
        check_policy(RotationPolicy(1, MAX_STALENESS, 60), 3600)


@given(
    propagation=st.one_of(st.just(0.0), st.floats(PROPAGATION_SECONDS, 86_400)),
    staleness=st.floats(10, 90_000),
    age=st.floats(1, 400_000),
    ceiling=st.integers(1, 86_400),
)
def test_with_an_accepted_policy_a_key_has_drained_before_its_successor_is_too_old(
    propagation: float, staleness: float, age: float, ceiling: int
) -> None:
    """So two slots always suffice: one for the active key, and one for a draining or prepared key."""
    policy = RotationPolicy(propagation, staleness, age)
    needed = propagation + policy.drain_seconds(ceiling)
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
def test_fewer_than_two_slots_are_rejected_with_the_calculation(foreign: int) -> None:
    left = rf"{foreign} of the 3 key pair slots in us-east-1 .* leaves {MAX_KEY_PAIRS - foreign}; .* needs 2"
    with pytest.raises(InvalidRotationPolicy, match=left):
        check_slots("us-east-1", foreign)
