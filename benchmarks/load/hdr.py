"""Latencies in HdrHistogram's own forms, for the tools that read them.

Rules of the file
- The counts are ours, the forms the library's: a base64 V2 payload for logs, a percentile distribution (.hgrm) for
  plotters.
"""

from __future__ import annotations

from pathlib import Path

from hdrh.histogram import HdrHistogram

from benchmarks.load.latency import Counts

LONGEST_MICROSECONDS = 24 * 3600 * 1_000_000
SIGNIFICANT_FIGURES = 3


def histogram(latencies: Counts) -> HdrHistogram:
    """The latencies, in microseconds."""
    made = HdrHistogram(1, LONGEST_MICROSECONDS, SIGNIFICANT_FIGURES)
    for micros, number in latencies.items():
        made.record_value(micros, number)
    return made


def payload(latencies: Counts) -> str:
    """Base64 of the compressed V2 encoding."""
    encoded: bytes = histogram(latencies).encode()
    return encoded.decode("ascii")


def write_distribution(path: Path, latencies: Counts) -> None:
    """The percentile distribution in milliseconds, as HdrHistogram's plotter takes it."""
    with path.open("wb") as file:
        histogram(latencies).output_percentile_distribution(file, 1000)
