"""The chart of a result, as SVG and PNG: latency over time, rates, the percentile curve, and errors by code.

Invariants
- The heading names the plan, its rate and the target. What makes a run invalid, and which limit it exceeded, is written
  below it in red and never clipped, so that the chart cannot be shown without it.
- Latencies have a logarithmic axis, so that the median and the worst second are both visible. If none was measured, the
  panel says so and has no axis.
- Stages and actions are marked at their seconds in every panel over time.
- The panel of errors exists only if there are errors after the warm-up.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from benchmarks.load.figures import errors_over_time, over_time
from benchmarks.load.latency import FINE, Counts, percentile
from benchmarks.load.text_report import rates_of, verdicts_of
from benchmarks.load.totals import Totals

mpl.rcParams["svg.hashsalt"] = "tokensvc"  # the same chart is the same file
NINES = [0.0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999]
WIDTH_INCHES, PANELS_INCHES, ERRORS_INCHES = 11, 7.0, 2.2
_MARGIN_INCHES = 0.15
_HEADING_COLUMNS, _COLUMNS = 85, 130
"""Characters of the heading, and of a line below it, that fit the width."""
_MAX_VERDICTS = 4
_MAX_VERDICT_LINES = 2
_MAX_CODES = 5
_LEGEND_COLUMNS = 3
_LATENCIES = {"max": "#d94801", "p99": "#2171b5", "p90": "#6baed6", "p50": "#9ecae1"}
_ERRORS = ("#a50f15", "#ef6548", "#fdae6b", "#807dba", "#4d4d4d", "#bdbdbd")
_RED, _GREY, _ACTION = "#b30000", "#737373", "#54278f"


class Chart:
    """The chart of one result, which can be saved in any format that matplotlib writes."""

    def __init__(self, result: Mapping[str, Any], totals: Totals) -> None:
        seconds, errors = over_time(totals), errors_over_time(totals)
        header = _header(result)
        rows = [["time", "time"], ["rate", "curve"]] + ([["errors", "errors"]] if errors else [])
        panels_inches = PANELS_INCHES + (ERRORS_INCHES if errors else 0)
        header_inches = sum(line.inches for line in header) + _MARGIN_INCHES
        height = panels_inches + header_inches
        self._figure = Figure(figsize=(WIDTH_INCHES, height))
        layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12, rect=(0, 0, 1, panels_inches / height))
        self._figure.set_layout_engine(layout)
        panels: dict[str, Any] = self._figure.subplot_mosaic(rows, height_ratios=[3.4, 2.4, 1.8][: len(rows)])
        _latency_over_time(panels["time"], seconds)
        _rates(panels["rate"], seconds)
        _percentile_curve(panels["curve"], totals.latencies)
        if errors:
            _errors_over_time(panels["errors"], seconds["second"], errors)
        for axes in (axes for name, axes in panels.items() if name != "curve"):
            axes.set(xlabel="second of the run", xlim=(totals.first, max(totals.end, totals.first + 1)))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _mark_stages(axes, result["plan"]["stages"], is_named=axes is panels["time"])
            _mark_actions(axes, result["actions"], is_named=axes is panels["time"])
        top = _MARGIN_INCHES
        for line in header:
            self._figure.text(
                0.5,
                1 - top / height,
                line.text,
                ha="center",
                va="top",
                size=line.points,
                color=line.colour,
                weight=line.weight,
            )
            top += line.inches

    def save(self, path: Path) -> None:
        """Save it in the format of the file's suffix."""
        metadata = {"Date": None} if path.suffix == ".svg" else None
        self._figure.savefig(path, dpi=120, metadata=metadata)


class _HeaderLine(NamedTuple):
    text: str
    colour: str
    points: float = 9.5
    weight: str = "normal"

    @property
    def inches(self) -> float:
        return self.points * 1.6 / 72


def _header(result: Mapping[str, Any]) -> list[_HeaderLine]:
    """Plan, target and time of the run, and what is wrong with it, wrapped to the width."""
    plan = result["plan"]
    name = result["benchmark"] + (f" ({plan['title']})" if plan["title"] else "")
    scale = f", scale {plan['scale']:g}" if plan["scale"] != 1 else ""
    rates = f"{rates_of(plan)}{scale}" if plan["stages"] else ""
    machines = ", ".join(sorted({machine["cpu"] for machine in result["machines"]}))
    origin = f"{', '.join(result['url'])} · {result['started_at'][:16].replace('T', ' ')} UTC · {machines}"
    verdicts = verdicts_of(result)
    if len(verdicts) > _MAX_VERDICTS:
        verdicts = [*verdicts[:_MAX_VERDICTS], f"and {len(verdicts) - _MAX_VERDICTS} more"]
    if result["interrupted"]:
        verdicts.insert(0, "interrupted: shows what was sent until then")
    return [
        *(_HeaderLine(line, "black", 13, "bold") for line in textwrap.wrap(name, _HEADING_COLUMNS)),
        *(_HeaderLine(line, "black", 11) for line in textwrap.wrap(rates, _HEADING_COLUMNS)),
        *(_HeaderLine(line, _GREY) for line in textwrap.wrap(origin, _COLUMNS)),
        *(_HeaderLine(line, _RED) for verdict in verdicts for line in _truncated_lines(verdict)),
    ]


def _truncated_lines(verdict: str) -> list[str]:
    return textwrap.wrap(verdict, _COLUMNS, max_lines=_MAX_VERDICT_LINES, placeholder=" …")


def _latency_over_time(axes: Any, seconds: Mapping[str, Sequence[float | None]]) -> None:
    axes.set_title("latency from the intended send time", loc="left")
    axes.set_ylabel("ms")
    if not any(value for name in _LATENCIES for value in seconds[name]):
        _show_empty(axes, "no latency was measured: no request succeeded or timed out")
        return
    for name, colour in _LATENCIES.items():
        axes.plot(_middles(seconds["second"]), seconds[name], label=name, color=colour, marker=".", markersize=3)
    _log_milliseconds(axes)
    axes.grid(alpha=0.3)
    _legend_above(axes, columns=4)
    low, high = axes.get_ylim()
    axes.set_ylim(low / (high / low) ** 0.12, high * (high / low) ** 0.25)  # room for the labels of the marks


def _rates(axes: Any, seconds: Mapping[str, Sequence[Any]]) -> None:
    at = _middles(seconds["second"])
    axes.plot(at, seconds["sent"], label="sent", color="#525252", linestyle="--", zorder=5)
    axes.plot(at, seconds["completed"], label="succeeded", color="#238b45")
    if any(seconds["failed"]):
        axes.plot(at, seconds["failed"], label="failed", color="#d94801")
    maximum = max([*seconds["sent"], *seconds["completed"], 1.0])
    axes.set_title("requests per second", loc="left")
    axes.set_ylim(0, 1.15 * maximum)
    axes.grid(alpha=0.3)
    _legend_above(axes, columns=3)


def _percentile_curve(axes: Any, latencies: Counts) -> None:
    axes.set_title("latency by percentile", loc="left")
    axes.set(xlabel="percentile", ylabel="ms")
    total = sum(latencies.values())
    if not total:
        axes.set_xticks([])
        _show_empty(axes, "no latency was measured")
        return
    nines = [percent for percent in NINES if total * (100 - percent) / 100 >= 1]
    axes.plot(
        [100 / (100 - percent) for percent in nines],
        [percentile(latencies, percent, FINE) for percent in nines],
        color="#2171b5",
        marker=".",
    )
    axes.set_xscale("log")
    marks = [percent for percent in (0.0, 50, 90, 99, 99.9, 99.99, 99.999) if percent in nines]
    axes.set_xticks([100 / (100 - percent) for percent in marks], [f"{percent:g}" for percent in marks])
    axes.xaxis.minorticks_off()
    _log_milliseconds(axes)
    axes.grid(alpha=0.3)


def _errors_over_time(axes: Any, at: Sequence[Any], errors: Mapping[str, Sequence[int]]) -> None:
    shown = dict(list(errors.items())[:_MAX_CODES])
    if others := list(errors.values())[_MAX_CODES:]:
        shown[f"{len(others)} more"] = [sum(numbers) for numbers in zip(*others, strict=True)]
    bottom = [0] * len(at)
    for (error, numbers), colour in zip(shown.items(), _ERRORS, strict=False):
        label = f"{_truncate(error, 32)}: {sum(numbers):,}"
        axes.bar(_middles(at), numbers, bottom=bottom, width=0.9, label=label, color=colour)
        bottom = [below + number for below, number in zip(bottom, numbers, strict=True)]
    axes.set_title("errors per second, by code", loc="left")
    axes.set_ylim(0, (1.4 if len(shown) <= _LEGEND_COLUMNS else 1.7) * max([*bottom, 1]))  # room for the legend
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.grid(alpha=0.3, axis="y")
    legend = axes.legend(ncols=_LEGEND_COLUMNS, loc="upper left", frameon=False, fontsize=8.5, columnspacing=1.2)
    legend.set_in_layout(False)  # it is inside the panel and must not move it


def _mark_stages(axes: Any, stages: Sequence[Mapping[str, float]], *, is_named: bool) -> None:
    """Mark the start of each stage with a line, if there are several; with `is_named`, label it with its rates."""
    if len(stages) < 2:
        return
    begins = [0.0, *accumulate(stage["seconds"] for stage in stages)]
    left, right = axes.get_xlim()
    for number, (begin, stage) in enumerate(zip(begins, stages, strict=False)):
        if not left <= begin < right and not begin < left < begin + stage["seconds"]:
            continue
        if begin > left:
            axes.axvline(begin, color=_GREY, linestyle=":", linewidth=1)
        if is_named:
            rates = f"{stage['from_rate']:,g}"
            if stage["to_rate"] != stage["from_rate"]:
                rates += f" → {stage['to_rate']:,g}"
            _annotate(axes, max(begin, left), f" {rates}/s", _GREY, height=0.02 + 0.07 * (number % 2))


def _mark_actions(axes: Any, actions: Sequence[Mapping[str, Any]], *, is_named: bool) -> None:
    """Mark each action with a band of its duration, red if it failed."""
    for number, action in enumerate(actions):
        colour = _RED if action["exit_code"] else _ACTION
        begin, end = action["at_seconds"], action["at_seconds"] + action["took_seconds"]
        axes.axvspan(begin, end, color=colour, alpha=0.12, linewidth=0)
        axes.axvline(begin, color=colour, linewidth=1, alpha=0.6)
        if is_named:
            code = f" (exit code {action['exit_code']})" if action["exit_code"] else ""
            text = f" {_truncate(action['command'], 50)}{code}"
            _annotate(axes, begin, text, colour, height=0.86 - 0.06 * (number % 3))


def _annotate(axes: Any, second: float, text: str, colour: str, *, height: float) -> None:
    """Label a mark, on the side that has more room."""
    left, right = axes.get_xlim()
    is_left = second > left + 0.65 * (right - left)
    axes.text(
        second,
        height,
        text.strip() + " " if is_left else text,
        transform=axes.get_xaxis_transform(),
        ha="right" if is_left else "left",
        va="bottom",
        fontsize=9,
        color=colour,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )


def _legend_above(axes: Any, *, columns: int) -> None:
    """Place the legend to the right of the title, where it covers no data."""
    axes.legend(
        ncols=columns,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=9,
        borderpad=0.1,
        columnspacing=1.2,
    )


def _truncate(text: str, maximum: int) -> str:
    return text if len(text) <= maximum else text[: maximum - 1] + "…"


def _show_empty(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_GREY)
    axes.set_yticks([])


def _middles(seconds: Sequence[Any]) -> list[float]:
    """The middle of each second, where its values are drawn."""
    return [second + 0.5 for second in seconds]


def _log_milliseconds(axes: Any) -> None:
    """A logarithmic axis with plain numbers, and ticks at 1, 2 and 5 of each decade, or only at 1 over many decades."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.minorticks_off()
