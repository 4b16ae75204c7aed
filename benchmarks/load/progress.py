"""A progress line per second on standard error during a run.

Invariants
- A second is printed when every generator has reported it; later responses are in the report, not here.
- A closed standard error does not end a run.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter, defaultdict

from benchmarks.load.generator import Progress
from benchmarks.load.latency import COARSE, Counts, add, longest, percentile

_MAX_CODES = 2
"""How many of a second's most frequent errors its line shows."""


class ProgressDisplay:
    """Merges and prints the progress of the generators."""

    def __init__(self, generators: int, seconds: float) -> None:
        self._generators = generators
        self._seconds = seconds
        self._pending: defaultdict[int, list[Progress]] = defaultdict(list)

    def show(self, progress: Progress) -> None:
        """Add one generator's progress; print the second when all have reported it."""
        reports = self._pending[progress.second]
        reports.append(progress)
        if len(reports) == self._generators:
            print_line(self._line(self._pending.pop(progress.second)))

    def remove_generator(self) -> None:
        """Stop waiting for one generator, because it died."""
        self._generators -= 1

    def _line(self, reports: list[Progress]) -> str:
        latencies: Counts = {}
        errors: Counter[str] = Counter()
        for one in reports:
            add(latencies, one.last.latencies)
            errors.update(one.last.errors)
        return (
            f"{reports[0].second + 1:>5}/{self._seconds:g} s"
            f"  sent {sum(one.last.sent for one in reports):>6}"
            f"  completed {sum(one.last.completed for one in reports):>6}"
            f"  failed {sum(one.last.failed for one in reports):>4}"
            f"  in flight {sum(one.in_flight for one in reports):>5}"
            f"  p50 {percentile(latencies, 50, COARSE):>8.2f}  p99 {percentile(latencies, 99, COARSE):>8.2f}"
            f"  max {longest(latencies, COARSE):>8.2f} ms"
            f"  delay p99 {max(one.delay_p99_ms for one in reports):.2f} ms"
            + "".join(f"  {code}: {number}" for code, number in errors.most_common(_MAX_CODES))
        )


def print_line(text: str) -> None:
    """Print one line on standard error."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
