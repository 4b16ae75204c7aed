"""One report of several machines' records: `python -m benchmarks.load.merge A.records B.records [--json] [--out DIR]`.

Invariants
- Exit codes are those of a run. The merged run is checked against the strictest limits of its parts, or those given
  here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import limits, records, result_store
from benchmarks.load.records import InvalidRecords
from benchmarks.load.report_output import present


def main(arguments: Sequence[str]) -> int:
    """Merge records, report them, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load.merge", description="Merge records into one report."
    )
    parser.add_argument("records", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument(
        "--out", type=Path, default=result_store.RESULTS, metavar="DIR", help="folder for the merged result"
    )
    limits.add_options(parser)
    options = parser.parse_args(arguments)
    try:
        lines = [line for path in options.records for line in records.read(path)]
        report = result_store.report_of(lines)
        report = result_store.report_of(lines, report.totals.limits.changed(options))
    except (InvalidRecords, OSError, UnicodeDecodeError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return present(report, options.out, is_json=options.json, plan_suffix="-merged")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
