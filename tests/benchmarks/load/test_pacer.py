"""The schedule is a pure function of the plan."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.pacer import Arrivals, Stage, instants, share

RATES = st.floats(0, 200)
STAGES = st.lists(st.builds(Stage, st.floats(0.1, 20), RATES, RATES), min_size=1, max_size=4)
ARRIVALS = st.sampled_from(["even", "poisson"])


def test_a_steady_rate_is_evenly_spaced() -> None:
    assert list(instants([Stage(2, 2, 2)], "even", 1)) == [0.25, 0.75, 1.25, 1.75]


def test_a_ramp_from_zero_sends_a_quarter_of_all_requests_in_its_first_half() -> None:
    sent = list(instants([Stage(10, 0, 400)], "even", 1))
    assert len(sent) == 2000
    assert len([instant for instant in sent if instant < 5]) == 500


@pytest.mark.parametrize("arrivals", ["even", "poisson"])
def test_a_ramp_reaches_its_peak_and_the_next_stage_continues_from_there(arrivals: Arrivals) -> None:
    sent = list(instants([Stage(10, 0, 1000), Stage(5, 1000, 1000)], arrivals, 7))
    assert len([instant for instant in sent if 9.5 <= instant < 10]) == pytest.approx(487, rel=0.1)
    assert len([instant for instant in sent if 10 <= instant < 15]) == pytest.approx(5000, rel=0.1)


def test_poisson_arrivals_have_exponential_gaps() -> None:
    gaps = [later - earlier for earlier, later in pairwise(instants([Stage(100, 100, 100)], "poisson", 3))]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.01, rel=0.05)
    assert variance == pytest.approx(mean**2, rel=0.1), "of an exponential distribution"


def test_the_schedule_depends_only_on_the_seed() -> None:
    stages = [Stage(1, 50, 50)]
    assert list(instants(stages, "poisson", 1)) == list(instants(stages, "poisson", 1))
    assert list(instants(stages, "poisson", 1)) != list(instants(stages, "poisson", 2))


@pytest.mark.slow
@given(STAGES, ARRIVALS)
def test_send_times_are_in_order_and_within_the_stages(stages: list[Stage], arrivals: Arrivals) -> None:
    sent = list(instants(stages, arrivals, 5))
    assert sent == sorted(sent)
    assert all(0 <= instant <= sum(stage.seconds for stage in stages) + 1e-9 for instant in sent)


@pytest.mark.slow
@given(STAGES)
def test_even_arrivals_are_as_many_as_the_stages_define(stages: list[Stage]) -> None:
    assert abs(len(list(instants(stages, "even", 1))) - sum(stage.requests for stage in stages)) <= 1


@pytest.mark.slow
@given(STAGES, ARRIVALS, st.integers(1, 5))
def test_all_shares_together_are_the_schedule(stages: list[Stage], arrivals: Arrivals, total: int) -> None:
    shares = [share(instants(stages, arrivals, 5), number, total) for number in range(total)]
    assert sorted(instant for one in shares for instant in one) == list(instants(stages, arrivals, 5))
