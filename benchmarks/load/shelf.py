"""Where results lie: one name, a file for each form.

Rules of the file
- A name is the start of the run and its plan; nothing that lies there is overwritten.
- The records are beside the result, so that it can be made anew, or merged with another machine's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import figures, hdr, picture, records
from benchmarks.load.records import Line
from benchmarks.load.totals import add_up

RESULTS = Path(__file__).parent.parent / "results"


def keep(folder: Path, lines: Iterable[Line], plan_suffix: str = "") -> tuple[Mapping[str, Any], list[Path]]:
    """Write records, result and pictures of a run; the result, and the files. Raises BadRecords, OSError."""
    lines = list(lines)
    totals = add_up(lines)
    result = figures.figures_of(totals)
    latencies = totals.latencies
    over_time = figures.over_time(totals)
    folder.mkdir(parents=True, exist_ok=True)
    run = min(totals.runs, key=lambda one: one.started_at)
    base = folder / f"{run.started_at:%Y-%m-%dT%H%M%SZ}-{run.plan}{plan_suffix}"
    files = [base.with_suffix(suffix) for suffix in (".records", ".json", ".hgrm")]
    records.write(files[0], lines)
    whole = {**result, "HdrHistogram of latencies in microseconds": hdr.payload(latencies), "seconds": over_time}
    files[1].write_text(json.dumps(whole, indent=1) + "\n")
    hdr.write_distribution(files[2], latencies)
    return result, files + picture.draw(base, result, over_time, latencies)
