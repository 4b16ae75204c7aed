"""A result as a picture, SVG and PNG: latency over time, and the percentile curve.

Rules of the file
- Latencies are on a logarithmic axis: one picture shows the median and the worst second.
- What makes a run worthless is written across it, so that the picture cannot travel without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.load.latency import FINE, Counts, percentile

mpl.rcParams["svg.hashsalt"] = "tokensvc"  # the same picture is the same file
NINES = [0.0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999]
_SHADES = {"p50": "#9ecae1", "p90": "#6baed6", "p99": "#2171b5", "max": "#d94801"}


def draw(
    path: Path, result: Mapping[str, Any], seconds: Mapping[str, Sequence[float]], latencies: Counts
) -> list[Path]:
    """Write `path` with the suffixes .svg and .png; gives both."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    over_time, rates, curve = figure.subplot_mosaic(
        [["time", "time"], ["rate", "curve"]], height_ratios=[3, 2]
    ).values()
    _latency_over_time(over_time, seconds)
    _rates(rates, seconds)
    _percentile_curve(curve, latencies)
    worthless = [f"INVALID: {why}" for why in result["invalid"]] + [f"FAILED: {why}" for why in result["failed"]]
    said = f"{result['benchmark']}, {result['started_at'][:10]}, {result['machines'][0]['cpu']}"
    figure.suptitle("\n".join([said, *worthless[:2]]), color="#b30000" if worthless else "black", fontsize=11)
    pictures = [path.with_suffix(".svg"), path.with_suffix(".png")]
    figure.savefig(pictures[0], metadata={"Date": None})
    figure.savefig(pictures[1], dpi=120)
    return pictures


def _latency_over_time(axes: Any, seconds: Mapping[str, Sequence[float]]) -> None:
    for name, shade in _SHADES.items():
        axes.plot(seconds["second"], [value or None for value in seconds[name]], label=name, color=shade)
    axes.set(title="latency from the intended instant", xlabel="second of the run", ylabel="ms", yscale="log")
    _plain_numbers(axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend(ncols=4, loc="upper left")


def _rates(axes: Any, seconds: Mapping[str, Sequence[float]]) -> None:
    axes.plot(seconds["second"], seconds["asked"], label="asked", color="#969696", linestyle="--")
    axes.plot(seconds["second"], seconds["answered"], label="answered", color="#238b45")
    if any(seconds["failed"]):
        axes.plot(seconds["second"], seconds["failed"], label="failed", color="#d94801")
    axes.set(
        title="requests a second",
        xlabel="second of the run",
        ylim=(0, 1.2 * max(*seconds["asked"], *seconds["answered"], 1.0)),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _percentile_curve(axes: Any, latencies: Counts) -> None:
    total = sum(latencies.values())
    nines = [percent for percent in NINES if total * (100 - percent) / 100 >= 1]
    axes.plot(
        [100 / (100 - percent) for percent in nines],
        [percentile(latencies, percent, FINE) for percent in nines],
        color="#2171b5",
        marker=".",
    )
    axes.set(title="latency by percentile", xlabel="percentile", ylabel="ms", xscale="log", yscale="log")
    marks = [percent for percent in (0.0, 50, 90, 99, 99.9, 99.99, 99.999) if percent in nines]
    axes.set_xticks([100 / (100 - percent) for percent in marks], [f"{percent:g}" for percent in marks])
    axes.minorticks_off()
    _plain_numbers(axes.yaxis)
    axes.grid(alpha=0.3)


def _plain_numbers(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
