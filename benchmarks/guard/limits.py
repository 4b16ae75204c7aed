"""The maximum of each ratio of costs.

Invariants
- A limit consists of a baseline, a margin for the variation of a single run, and a reason.
- A ratio far below its baseline is not a failure but is reported, so that the baseline can be lowered.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("limits.toml")


class InvalidLimits(Exception):
    """The file of limits is invalid."""


class Limit(NamedTuple):
    """The limit of one ratio."""

    baseline: float
    margin: float
    """As a fraction of the baseline."""
    reason: str

    @property
    def maximum(self) -> float:
        return self.baseline * (1 + self.margin)


def read(text: str) -> dict[str, Limit]:
    """Limits by ratio. Raises InvalidLimits."""
    try:
        tables = tomllib.loads(text)
        limits = {ratio: Limit(**table) for ratio, table in tables.items()}
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise InvalidLimits(str(error)) from None
    for ratio, limit in limits.items():
        if not (limit.baseline > 0 and 0 < limit.margin < 1 and limit.reason):
            raise InvalidLimits(f"{ratio}: must have a baseline above 0, a margin between 0 and 1, and a reason")
    return limits


def regression(ratio: str, limit: Limit, measured: float) -> str | None:
    """The message about a ratio above its limit; None for any other."""
    if measured <= limit.maximum:
        return None
    return (
        f"{ratio} has grown by {measured / limit.baseline - 1:.1%}: it is {measured:.3f}, the baseline is "
        f"{limit.baseline:g} and the limit {limit.maximum:.3f}. {limit.reason}"
    )


def improvement(ratio: str, limit: Limit, measured: float) -> str | None:
    """The message about a ratio that has improved by more than its margin; None for any other."""
    if measured >= limit.baseline * (1 - limit.margin):
        return None
    return f"{ratio} is {measured:.3f}, the baseline is {limit.baseline:g}: if this lasts, lower it in {FILE.name}."
