"""Output of a report: on standard output first, then as files; and the exit code.

Invariants
- The report is printed before any file is written: a full disk, a missing package or a chart that cannot be drawn is
  reported afterwards, each as a line on standard error.
- Exit codes: 0 valid, 1 invalid or failed, or records or result could not be written, 3 over a limit. A closed standard
  output does not change them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.load import figures, result_store, text_report
from benchmarks.load.progress import print_line
from benchmarks.load.result_store import Report


def present(report: Report, folder: Path, *, is_json: bool, plan_suffix: str = "") -> int:
    """Print the result, write its files, and return the exit code."""
    show(report, is_json=is_json)
    stored = result_store.store(folder, report, plan_suffix)
    for path in stored.files:
        print_line(f"wrote {path}")
    for not_written in stored.not_written:
        print_line(f"not written: {not_written}")
    return figures.exit_code(report.result) if stored.is_complete else 1


def show(report: Report, *, is_json: bool) -> None:
    """Print the result."""
    text = json.dumps(report.result, indent=2) if is_json else text_report.text_of(report.result)
    try:
        print(text, flush=True)
    except OSError as failure:
        print_line(f"standard output: {failure.strerror}")
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - the interpreter flushes it at exit
