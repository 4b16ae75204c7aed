"""Latencies in HdrHistogram's formats, for the tools that read them.

Invariants
- The counts are ours, the formats the library's: a base64 V2 payload for logs and a percentile distribution (.hgrm) for
  plotters.
"""

from __future__ import annotations

from pathlib import Path

from hdrh.histogram import HdrHistogram

from benchmarks.load.latency import Counts

LONGEST_MICROSECONDS = 24 * 3600 * 1_000_000
SIGNIFICANT_FIGURES = 3


def histogram(latencies: Counts) -> HdrHistogram:
    """The latencies as a histogram, in microseconds."""
    result = HdrHistogram(1, LONGEST_MICROSECONDS, SIGNIFICANT_FIGURES)
    for micros, number in latencies.items():
        result.record_value(micros, number)
    return result


def payload(latencies: Counts) -> str:
    """Base64 of the compressed V2 encoding."""
    encoded: bytes = histogram(latencies).encode()
    return encoded.decode("ascii")


def write_distribution(path: Path, latencies: Counts) -> None:
    """Write the percentile distribution in milliseconds, as HdrHistogram's plotter reads it."""
    with path.open("wb") as file:
        histogram(latencies).output_percentile_distribution(file, 1000)
