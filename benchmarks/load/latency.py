"""Counts of durations, in microseconds, in buckets of bounded relative width.

Invariants
- A bucket is a duration with its low bits cleared, as in an HdrHistogram: FINE keeps 11 bits (within 0.1 %), COARSE 7
  (within 1.6 %).
- Only non-empty buckets are stored, so that records are small and are merged by adding counts.
- A bucket represents the longest duration in it: rounding never makes a result look better.
"""

from __future__ import annotations

from collections.abc import Mapping

FINE = 11
COARSE = 7

Counts = dict[int, int]
"""Lower edge of a bucket in microseconds -> number of durations in it."""


def count(counts: Counts, seconds: float, bits: int) -> None:
    """Count one duration. A negative one counts as 0."""
    micros = int(seconds * 1e6) if seconds > 0 else 0
    shift = micros.bit_length() - bits
    if shift > 0:
        micros = micros >> shift << shift
    counts[micros] = counts.get(micros, 0) + 1


def add(into: Counts, more: Mapping[int, int]) -> None:
    """Add the counts of another set of buckets."""
    for edge, number in more.items():
        into[edge] = into.get(edge, 0) + number


def percentile(counts: Mapping[int, int], percent: float, bits: int) -> float:
    """The duration in milliseconds that `percent` of all do not exceed; 0 if nothing was counted."""
    target = sum(counts.values()) * percent / 100
    seen = 0
    for edge in sorted(counts):
        seen += counts[edge]
        if seen >= target:
            return _longest(edge, bits) / 1000
    return 0.0


def longest(counts: Mapping[int, int], bits: int) -> float:
    """The longest duration in milliseconds; 0 if nothing was counted."""
    return _longest(max(counts), bits) / 1000 if counts else 0.0


def _longest(edge: int, bits: int) -> int:
    return edge + (1 << max(edge.bit_length() - bits, 0)) - 1
