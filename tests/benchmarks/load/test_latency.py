"""Counting durations in buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.latency import COARSE, FINE, Counts, add, count, longest, percentile

SECONDS = st.lists(st.floats(0, 1000), min_size=1, max_size=200)
WIDTH = {FINE: 0.001, COARSE: 0.016}


def counted(seconds: list[float], bits: int) -> Counts:
    counts: Counts = {}
    for one in seconds:
        count(counts, one, bits)
    return counts


@pytest.mark.slow
@given(SECONDS, st.sampled_from([FINE, COARSE]), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_accurate_to_a_bucket_and_never_too_low(
    seconds: list[float], bits: int, percent: float
) -> None:
    true = sorted(seconds)[max(0, math.ceil(len(seconds) * percent / 100 - 1e-9) - 1)] * 1000
    found = percentile(counted(seconds, bits), percent, bits)
    assert true - 0.001 <= found <= true * (1 + WIDTH[bits]) + 0.001


@pytest.mark.slow
@given(SECONDS, SECONDS)
def test_added_counts_are_the_counts_of_all_durations(some: list[float], others: list[float]) -> None:
    together = counted(some, FINE)
    add(together, counted(others, FINE))
    assert together == counted(some + others, FINE)


def test_the_maximum_is_not_truncated() -> None:
    assert longest(counted([0.001, 7.5], FINE), FINE) == pytest.approx(7500, rel=0.001)


@pytest.mark.slow
def test_counts_are_compact() -> None:
    assert len(counted([number / 1_000_000 for number in range(1_000_000)], COARSE)) < 1000


def test_percentile_and_maximum_of_nothing_are_zero() -> None:
    assert percentile({}, 99, FINE) == longest({}, FINE) == 0


def test_a_negative_duration_counts_as_zero() -> None:
    assert counted([-0.5], FINE) == {0: 1}


def test_hdrhistogram_finds_the_same_percentiles() -> None:
    pytest.importorskip("hdrh", reason="hdrhistogram comes with the benchmarks: make bench-packages")
    from benchmarks.load.hdr import histogram, payload

    counts = counted([0.0003 * 1.01**number for number in range(1000)], FINE)
    expected = histogram(counts)
    for percent in (50, 90, 99, 99.9, 100):
        microseconds = percentile(counts, percent, FINE) * 1000
        assert expected.get_value_at_percentile(percent) == pytest.approx(microseconds, rel=0.002)
    assert expected.get_total_count() == 1000
    assert type(expected).decode(payload(counts).encode()).get_total_count() == 1000
