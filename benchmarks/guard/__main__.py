"""A run of the regression check: `python -m benchmarks.guard [--json]`.

Invariants
- A ratio above its limit is measured once more and the better result counts: a limit describes the cost of the code,
  and a disturbance can only add to it.
- What cannot be measured here is reported as skipped. The exit code is 1 if a ratio exceeds its limit, else 0.
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
    """A measurement of one or more ratios."""

    ratios: tuple[str, ...]
    unavailable_reason: Callable[[], str | None]
    """Why it cannot be measured here; None if it can."""
    run: Callable[[], tuple[Ratios, Figures]]


MEASUREMENTS = (
    Measurement(signing.RATIOS, lambda: None, signing.measure),
    *(
        Measurement(
            serving.ratios_of(signer), partial(serving.unavailable_reason, signer), partial(serving.measure, signer)
        )
        for signer in ("aws-lc", "multibuffer")
    ),
    Measurement(tuple(instructions.RATIOS), instructions.unavailable_reason, instructions.measure),
)


def main() -> None:
    limits_by_ratio = limits.read(limits.FILE.read_text("utf-8"))
    ratios: Ratios = {}
    figures: Figures = {}
    skipped: dict[str, str] = {}
    for measurement in MEASUREMENTS:
        if (reason := measurement.unavailable_reason()) is not None:
            skipped |= dict.fromkeys(measurement.ratios, reason)
        else:
            measured, more_figures = measure_with_retry(measurement, limits_by_ratio)
            ratios |= measured
            figures |= more_figures
    maximums = {ratio: round(limits_by_ratio[ratio].maximum, 3) for ratio in ratios}
    report("cost of a token", ratios, figures, maximums, skipped=skipped, target_label="at most")
    regressions = messages(limits.regression, ratios, limits_by_ratio)
    for text in [*messages(limits.improvement, ratios, limits_by_ratio), *regressions]:
        print(f"\n{text}", file=sys.stderr)
    if regressions:
        raise SystemExit(1)


def measure_with_retry(measurement: Measurement, limits_by_ratio: Mapping[str, Limit]) -> tuple[Ratios, Figures]:
    """Measure these ratios once, and again if one of them exceeds its limit; the better results."""
    first, figures = measurement.run()
    if not messages(limits.regression, first, limits_by_ratio):
        return first, figures
    print("a ratio exceeds its limit; measuring it again", file=sys.stderr)
    second, figures = measurement.run()
    return {ratio: min(first[ratio], second[ratio]) for ratio in first}, figures


def messages(
    check: Callable[[str, Limit, float], str | None], ratios: Ratios, limits_by_ratio: Mapping[str, Limit]
) -> list[str]:
    """The messages of a check about these ratios."""
    texts = (check(ratio, limits_by_ratio[ratio], measured.median) for ratio, measured in ratios.items())
    return [text for text in texts if text is not None]


if __name__ == "__main__":
    main()
