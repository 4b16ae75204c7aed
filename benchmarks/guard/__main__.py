"""The guard's run: `python -m benchmarks.guard [--json]`.

Rules of the file
- What fails is measured once more, and the better of the two is judged: a limit says what the code costs, and a
  disturbance can only add to that.
- What cannot be measured here is named, and judged by nobody. Exit code 1 where a ratio has grown, else 0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.guard import instructions, limits, serving, signing
from benchmarks.guard.limits import Limit
from benchmarks.report import report
from benchmarks.turns import Spread


class Measure(NamedTuple):
    """Ratios that are measured together."""

    ratios: tuple[str, ...]
    absent: Callable[[], str | None]
    measure: Callable[[], Mapping[str, Spread]]


MEASURES = (
    Measure(signing.RATIOS, lambda: None, signing.measure),
    Measure(serving.RATIOS, serving.absent, serving.measure),
    Measure(tuple(instructions.RATIOS), instructions.absent, instructions.measure),
)


def main() -> None:
    bounds = limits.read(limits.FILE.read_text("utf-8"))
    ratios: dict[str, Spread] = {}
    left_out: dict[str, str] = {}
    for measure in MEASURES:
        if (why := measure.absent()) is not None:
            left_out |= dict.fromkeys(measure.ratios, why)
        else:
            ratios |= settled(measure, bounds)
    grown = {ratio: text for ratio, seen in ratios.items() if (text := limits.grown(ratio, bounds[ratio], seen.median))}
    better = [text for ratio, seen in ratios.items() if (text := limits.shrunk(ratio, bounds[ratio], seen.median))]
    figures = {f"at most, {ratio}": round(bounds[ratio].at_most, 3) for ratio in ratios}
    report("what a token costs", ratios, figures, {}, left_out=left_out)
    for text in [*better, *grown.values()]:
        print(f"\n{text}", file=sys.stderr)
    if grown:
        raise SystemExit(1)


def settled(measure: Measure, bounds: Mapping[str, Limit]) -> dict[str, Spread]:
    """What these ratios are: measured once, and once more where one of them is above its limit."""
    first = dict(measure.measure())
    if all(limits.grown(ratio, bounds[ratio], seen.median) is None for ratio, seen in first.items()):
        return first
    print("something was above its limit and is measured once more", file=sys.stderr)
    return {ratio: min(first[ratio], seen) for ratio, seen in measure.measure().items()}


if __name__ == "__main__":
    main()
