"""What a ratio of costs may be at most.

Rules of the file
- A limit is what runs usually show, and a margin for how far one run may be off. It has a reason, for who meets it.
- A ratio well below its limit is no failure but is told, so that the limit is drawn tighter.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("limits.toml")


class InvalidLimits(Exception):
    """The file of limits says something else than limits."""


class Limit(NamedTuple):
    """Of one ratio."""

    baseline: float
    margin: float
    """A share of the usual one."""
    reason: str

    @property
    def maximum(self) -> float:
        return self.baseline * (1 + self.margin)


def read(text: str) -> dict[str, Limit]:
    """Limits by their ratio. Raises BadLimits."""
    try:
        tables = tomllib.loads(text)
        limits = {ratio: Limit(**table) for ratio, table in tables.items()}
    except (tomllib.TOMLDecodeError, TypeError) as problem:
        raise InvalidLimits(str(problem)) from None
    for ratio, limit in limits.items():
        if not (limit.baseline > 0 and 0 < limit.margin < 1 and limit.reason):
            raise InvalidLimits(f"{ratio}: a limit has a usual ratio above 0, a margin between 0 and 1, and a reason")
    return limits


def regression(ratio: str, limit: Limit, measured: float) -> str | None:
    """What to say of a ratio that is above its limit; None of any other."""
    if measured <= limit.maximum:
        return None
    return (
        f"{ratio} has grown by {measured / limit.baseline - 1:.1%}: it is {measured:.3f}, usually {limit.baseline:g}, "
        f"and at most {limit.maximum:.3f} is let pass. {limit.reason}"
    )


def improvement(ratio: str, limit: Limit, measured: float) -> str | None:
    """What to say of a ratio that has become better by more than its margin."""
    if measured >= limit.baseline * (1 - limit.margin):
        return None
    return f"{ratio} is {measured:.3f}, usually {limit.baseline:g}: if that lasts, lower it in {FILE.name}."
