"""Several machines' records as one report: `python -m benchmarks.load.merge A.records B.records [--json] [--out DIR]`.

Rules of the file
- Exit codes are those of a run: 0, or 1 where the whole is invalid or failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import paper, records, shelf
from benchmarks.load.records import BadRecords


def main(arguments: Sequence[str]) -> int:
    """Merge and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.merge", description="Several records, one report.")
    parser.add_argument("records", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--out", type=Path, default=shelf.RESULTS, metavar="DIR", help="where the merged result goes")
    options = parser.parse_args(arguments)
    try:
        lines = [line for path in options.records for line in records.read(path)]
        result, files = shelf.keep(options.out, lines, "-merged")
    except (BadRecords, OSError) as failure:
        print(failure, file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2) if options.json else paper.text_of(result))
    print("\n".join(f"wrote {path}" for path in files), file=sys.stderr)
    return 1 if result["invalid"] or result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
