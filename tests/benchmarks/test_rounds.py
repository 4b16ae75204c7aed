"""Rounds are interleaved, and ratios are computed within a round."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import rounds
from benchmarks.rounds import Spread

RATES = st.floats(min_value=1e-3, max_value=1e6)


def test_each_round_measures_each_contender_once_and_every_other_round_is_reversed() -> None:
    order: list[str] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    results = rounds.interleave({name: partial(measure, name) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    assert results == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_a_ratio_is_the_median_minimum_and_maximum_over_the_rounds() -> None:
    assert rounds.ratio([10, 20, 90], [10, 10, 30]) == Spread(2, 1, 3)


def test_a_difference_is_computed_within_each_round() -> None:
    assert rounds.difference([12, 25, 130], [10, 20, 100]) == Spread(5, 2, 30)


def test_a_disturbance_of_a_whole_round_changes_no_ratio() -> None:
    assert rounds.ratio([10, 1, 10], [5, 0.5, 5]) == Spread(2, 2, 2)


def test_contenders_with_different_numbers_of_rounds_are_rejected() -> None:
    with pytest.raises(ValueError, match="shorter"):
        rounds.ratio([1, 2], [1])


@given(st.lists(st.tuples(RATES, RATES), min_size=1))
def test_the_median_lies_between_minimum_and_maximum(pairs: list[tuple[float, float]]) -> None:
    ratio = rounds.ratio([one for one, _ in pairs], [other for _, other in pairs])
    assert ratio.minimum <= ratio.median <= ratio.maximum
