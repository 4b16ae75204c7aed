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


class Measurement(NamedTuple):
    """Ratios that are measured together."""

    ratios: tuple[str, ...]
    unavailable_reason: Callable[[], str | None]
    """Why it cannot be done here; None where it can."""
    run: Callable[[], tuple[Ratios, Figures]]


MEASUREMENTS = (
    Measurement(signing.RATIOS, lambda: None, signing.measure),
    *(
        Measurement(serving.ratios_of(signer), partial(serving.unavailable_reason, signer), partial(serving.measure, signer))
        for signer in ("aws-lc", "multibuffer")
    ),
    Measurement(tuple(instructions.RATIOS), instructions.unavailable_reason, instructions.measure),
)


def main() -> None:
    limits_by_ratio = limits.read(limits.FILE.read_text("utf-8"))
    ratios: Ratios = {}
    figures: Figures = {}
    skipped: dict[str, str] = {}
    for measure in MEASUREMENTS:
        if (reason := measure.unavailable_reason()) is not None:
            skipped |= dict.fromkeys(measure.ratios, reason)
        else:
            some, more = measure_with_retry(measure, limits_by_ratio)
            ratios |= some
            figures |= more
    maximum = {ratio: round(limits_by_ratio[ratio].maximum, 3) for ratio in ratios}
    report("what a token costs", ratios, figures, maximum, skipped=skipped, target_label="at most")
    regression = messages(limits.regression, ratios, limits_by_ratio)
    for text in [*messages(limits.improvement, ratios, limits_by_ratio), *regression]:
        print(f"\n{text}", file=sys.stderr)
    if regression:
        raise SystemExit(1)


def measure_with_retry(measure: Measurement, limits_by_ratio: Mapping[str, Limit]) -> tuple[Ratios, Figures]:
    """What these ratios are: measured once, and once more where one of them is above its limit."""
    first, figures = measure.run()
    if not messages(limits.regression, first, limits_by_ratio):
        return first, figures
    print("a ratio is above its limit, so it is measured once more", file=sys.stderr)
    second, figures = measure.run()
    return {ratio: min(first[ratio], second[ratio]) for ratio in first}, figures


def messages(judge: Callable[[str, Limit, float], str | None], ratios: Ratios, limits_by_ratio: Mapping[str, Limit]) -> list[str]:
    """What a judge has to say of these ratios."""
    texts = (judge(ratio, limits_by_ratio[ratio], seen.median) for ratio, seen in ratios.items())
    return [text for text in texts if text is not None]


if __name__ == "__main__":
    main()
