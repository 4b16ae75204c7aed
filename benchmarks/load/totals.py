"""Merged records: the lines of all generators and machines as one run.

Invariants
- Only runs of one plan at one scale can be merged; anything else is rejected.
- Seconds count from each machine's own start, so machines that started a moment apart are still aligned.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.load.latency import Counts, add
from benchmarks.load.limits import Limits, strictest
from benchmarks.load.records import (
    ActionResult,
    Errors,
    Generator,
    InvalidRecords,
    Keys,
    KindRecord,
    Line,
    Reading,
    Run,
    Sample,
    SecondRecord,
)
from benchmarks.load.tally import Second


@dataclass
class Totals:
    """The sum of all records."""

    runs: list[Run] = field(default_factory=list)
    seconds: defaultdict[int, Second] = field(default_factory=lambda: defaultdict(Second))
    kinds: defaultdict[str, Counts] = field(default_factory=lambda: defaultdict(dict))
    succeeded: Counter[str] = field(default_factory=Counter)
    """By kind."""
    generators: list[Generator] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    keys: list[Keys] = field(default_factory=list)
    readings: defaultdict[str, dict[int, Reading]] = field(default_factory=lambda: defaultdict(dict))
    """By server and second; readings of one server by several generators count once."""
    actions: list[ActionResult] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The first second after the warm-up."""
        return self.runs[0].warmup_seconds

    @property
    def end(self) -> float:
        """The end of the schedule, in seconds from its start."""
        return max(run.seconds for run in self.runs)

    @property
    def counted(self) -> dict[int, Second]:
        """All seconds between warm-up and end, in order."""
        return {number: self.seconds.get(number, Second()) for number in range(self.first, -int(-self.end // 1))}

    @property
    def limits(self) -> Limits:
        """The strictest limits of all machines."""
        return strictest(run.limits for run in self.runs)

    @property
    def warmup(self) -> list[Second]:
        """The seconds of the warm-up."""
        return [second for number, second in self.seconds.items() if number < self.first]

    @property
    def latencies(self) -> Counts:
        """The latencies of all kinds of request."""
        together: Counts = {}
        for counts in self.kinds.values():
            add(together, counts)
        return together


def add_up(lines: Iterable[Line]) -> Totals:
    """The totals of these lines. Raises InvalidRecords if they cannot be merged."""
    totals = Totals()
    for line in lines:
        if isinstance(line, Run):
            totals.runs.append(line)
        elif not totals.runs:
            raise InvalidRecords("records must start with the line of their run")
        else:
            _add(totals, line)
    if not totals.runs:
        raise InvalidRecords("the records contain no run")
    if len({run.digest for run in totals.runs}) > 1:
        raise InvalidRecords("the records are from different plans or scales")
    return totals


def _add(totals: Totals, line: Line) -> None:
    match line:
        case SecondRecord():
            second = totals.seconds[line.number]
            second.sent += line.sent
            second.failed += line.failed
            second.completed += line.completed
            second.tokens += line.tokens
            add(second.latencies, line.latencies)
            second.errors.update(line.errors)
        case KindRecord():
            add(totals.kinds[line.name], line.latencies)
            totals.succeeded[line.name] += line.succeeded
        case Generator():
            totals.generators.append(line)
        case Errors():
            totals.errors.update(line.counts)
        case Sample():
            totals.samples.append(line)
        case Keys():
            totals.keys.append(line)
        case Reading():
            totals.readings[line.server].setdefault(line.second, line)
        case ActionResult():
            totals.actions.append(line)
