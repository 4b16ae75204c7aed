"""Rounds are interleaved, and ratios are taken within a round."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import rounds
from benchmarks.rounds import Spread

RATES = st.floats(min_value=1e-3, max_value=1e6)


def test_each_contender_has_one_turn_in_each_round_and_every_other_round_goes_backwards() -> None:
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    seen = rounds.interleave({name: partial(turn, name) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    assert seen == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_a_ratio_is_the_median_of_the_rounds_ratios_with_the_least_and_the_most() -> None:
    assert rounds.ratio([10, 20, 90], [10, 10, 30]) == Spread(2, 1, 3)


def test_a_disturbance_that_meets_a_whole_round_changes_no_ratio() -> None:
    assert rounds.ratio([10, 1, 10], [5, 0.5, 5]) == Spread(2, 2, 2)


def test_contenders_with_different_numbers_of_rounds_are_no_match() -> None:
    with pytest.raises(ValueError, match="shorter"):
        rounds.ratio([1, 2], [1])


@given(st.lists(st.tuples(RATES, RATES), min_size=1))
def test_the_median_lies_between_the_least_and_the_most(rounds: list[tuple[float, float]]) -> None:
    found = rounds.ratio([one for one, _ in rounds], [other for _, other in rounds])
    assert found.minimum <= found.median <= found.maximum
