"""The guard's run: `python -m benchmarks.guard [--json]`.

Rules of the file
- What fails is measured once more, and the better of the two is judged: a limit says what the code costs, and a
  disturbance can only add to that.
- What cannot be measured here is named, and judged by nobody. Exit code 1 where a ratio has grown, else 0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from benchmarks.guard import instructions, limits, serving, signing
from benchmarks.guard.limits import Limit
from benchmarks.report import report
from benchmarks.rounds import Spread

Ratios = dict[str, Spread]
Figures = dict[str, float]


class Measure(NamedTuple):
    """Ratios that are measured together."""

    ratios: tuple[str, ...]
    absent: Callable[[], str | None]
    """Why it cannot be done here; None where it can."""
    take: Callable[[], tuple[Ratios, Figures]]


MEASURES = (
    Measure(signing.RATIOS, lambda: None, signing.measure),
    *(
        Measure(serving.ratios_of(signer), partial(serving.absent, signer), partial(serving.measure, signer))
        for signer in ("aws-lc", "multibuffer")
    ),
    Measure(tuple(instructions.RATIOS), instructions.absent, instructions.measure),
)


def main() -> None:
    bounds = limits.read(limits.FILE.read_text("utf-8"))
    ratios: Ratios = {}
    figures: Figures = {}
    left_out: dict[str, str] = {}
    for measure in MEASURES:
        if (why := measure.absent()) is not None:
            left_out |= dict.fromkeys(measure.ratios, why)
        else:
            some, more = settled(measure, bounds)
            ratios |= some
            figures |= more
    at_most = {ratio: round(bounds[ratio].at_most, 3) for ratio in ratios}
    report("what a token costs", ratios, figures, at_most, left_out=left_out, target_is="at most")
    grown = said(limits.grown, ratios, bounds)
    for text in [*said(limits.shrunk, ratios, bounds), *grown]:
        print(f"\n{text}", file=sys.stderr)
    if grown:
        raise SystemExit(1)


def settled(measure: Measure, bounds: Mapping[str, Limit]) -> tuple[Ratios, Figures]:
    """What these ratios are: measured once, and once more where one of them is above its limit."""
    first, figures = measure.take()
    if not said(limits.grown, first, bounds):
        return first, figures
    print("a ratio is above its limit, so it is measured once more", file=sys.stderr)
    second, figures = measure.take()
    return {ratio: min(first[ratio], second[ratio]) for ratio in first}, figures


def said(judge: Callable[[str, Limit, float], str | None], ratios: Ratios, bounds: Mapping[str, Limit]) -> list[str]:
    """What a judge has to say of these ratios."""
    texts = (judge(ratio, bounds[ratio], seen.median) for ratio, seen in ratios.items())
    return [text for text in texts if text is not None]


if __name__ == "__main__":
    main()
