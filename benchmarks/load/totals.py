"""Records added up: the lines of all generators and machines, as one run.

Rules of the file
- Only runs of one plan, at one scale, add up; anything else is refused.
- Seconds are counted from each machine's own start, so machines that started a moment apart still lie on one another.
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
    """Everything that was recorded."""

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
    """Of each server, by second; what several generators read of one server counts once."""
    actions: list[ActionResult] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The first second that counts."""
        return self.runs[0].warmup_seconds

    @property
    def end(self) -> float:
        """Where the schedule ended, in seconds from its start."""
        return max(run.seconds for run in self.runs)

    @property
    def counted(self) -> dict[int, Second]:
        """The seconds between warm-up and end, each of them, in order."""
        return {number: self.seconds.get(number, Second()) for number in range(self.first, -int(-self.end // 1))}

    @property
    def limits(self) -> Limits:
        """The strictest of all machines."""
        return strictest(run.limits for run in self.runs)

    @property
    def warmup(self) -> list[Second]:
        """The seconds before the first that counts."""
        return [second for number, second in self.seconds.items() if number < self.first]

    @property
    def latencies(self) -> Counts:
        """Of all kinds together."""
        together: Counts = {}
        for counts in self.kinds.values():
            add(together, counts)
        return together


def add_up(lines: Iterable[Line]) -> Totals:
    """The totals of these lines. Raises BadRecords where they do not belong together."""
    totals = Totals()
    for line in lines:
        if isinstance(line, Run):
            totals.runs.append(line)
        elif not totals.runs:
            raise InvalidRecords("records begin with the line of their run")
        else:
            _add(totals, line)
    if not totals.runs:
        raise InvalidRecords("these records hold no run")
    if len({run.digest for run in totals.runs}) > 1:
        raise InvalidRecords("these are runs of different plans, or of one at different scales")
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
