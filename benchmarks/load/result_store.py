"""The files of a result: one name, a file for each format.

Invariants
- The name consists of the start time and the plan, and a number if that name is taken; no file is overwritten.
- The records are stored with the result, so that it can be computed again or merged with another machine's.
- If a file cannot be written, the others still are, and the reason is reported. No partial file is left behind.
- Records and result are required; the percentile distribution and the charts are optional, as their packages may be
  missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.load import figures, records
from benchmarks.load.limits import Limits
from benchmarks.load.records import Line
from benchmarks.load.totals import Totals, add_up

if TYPE_CHECKING:
    from benchmarks.load.chart import Chart

RESULTS = Path(__file__).parent.parent / "results"
_CHART_SUFFIXES = (".svg", ".png")


class Report(NamedTuple):
    """The lines of a run and its result."""

    lines: Sequence[Line]
    totals: Totals
    result: Mapping[str, Any]


class StoredFiles(NamedTuple):
    """The files of a report."""

    files: list[Path]
    not_written: list[str]
    """A message for each file that could not be written."""
    is_complete: bool
    """Whether both records and result were written."""


def report_of(lines: Iterable[Line], limits: Limits | None = None) -> Report:
    """The report of these lines. Raises InvalidRecords."""
    lines = list(lines)
    totals = add_up(lines)
    return Report(lines, totals, figures.figures_of(totals, limits))


def store(folder: Path, report: Report, plan_suffix: str = "") -> StoredFiles:
    """Write records, result, percentile distribution and charts."""
    totals = report.totals
    files: list[Path] = []
    not_written: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        base = _free_name(folder, report, plan_suffix)
    except OSError as failure:
        return StoredFiles([], [f"{folder}: {failure.strerror or failure}"], is_complete=False)

    def write(suffix: str, do: Callable[[Path], object]) -> bool:
        path = base.with_name(base.name + suffix)
        try:
            do(path)
        except Exception as failure:  # noqa: BLE001 - whatever a library raises, the other files must be written
            reason = getattr(failure, "strerror", None) or f"{type(failure).__name__}: {failure}"
            not_written.append(f"{path}: {reason}")
            path.unlink(missing_ok=True)
            return False
        except BaseException:  # the third interrupt
            path.unlink(missing_ok=True)
            raise
        files.append(path)
        return True

    is_complete = write(".records", lambda path: records.write(path, report.lines))
    is_complete &= write(".json", lambda path: path.write_text(json.dumps(_full_result(report), indent=1) + "\n"))
    write(".hgrm", lambda path: _write_distribution(path, totals))
    drawn_chart = cache(lambda: _chart(report))
    for suffix in _CHART_SUFFIXES:
        write(suffix, lambda path: drawn_chart().save(path))
    return StoredFiles(files, not_written, is_complete)


def _free_name(folder: Path, report: Report, plan_suffix: str) -> Path:
    run = min(report.totals.runs, key=lambda one: one.started_at)
    name = f"{run.started_at:%Y-%m-%dT%H%M%SZ}-{run.plan}{plan_suffix}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(folder / one for one in names if not list(folder.glob(f"{one}.*")))


def _full_result(report: Report) -> dict[str, Any]:
    return {
        **report.result,
        "hdr_histogram_us": _payload(report.totals),
        "per_second": figures.over_time(report.totals),
        "errors_per_second": [
            {"error": error, "counts": counts} for error, counts in figures.errors_over_time(report.totals).items()
        ],
    }


def _payload(totals: Totals) -> str | None:
    try:
        from benchmarks.load import hdr
    except ImportError:
        return None
    return hdr.payload(totals.latencies)


def _write_distribution(path: Path, totals: Totals) -> None:
    from benchmarks.load import hdr

    hdr.write_distribution(path, totals.latencies)


def _chart(report: Report) -> Chart:
    from benchmarks.load.chart import Chart

    return Chart(report.result, report.totals)
