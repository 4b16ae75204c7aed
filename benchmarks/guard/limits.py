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


class BadLimits(Exception):
    """The file of limits says something else than limits."""


class Limit(NamedTuple):
    """Of one ratio."""

    usual: float
    margin: float
    """A share of the usual one."""
    reason: str

    @property
    def at_most(self) -> float:
        return self.usual * (1 + self.margin)


def read(text: str) -> dict[str, Limit]:
    """Limits by their ratio. Raises BadLimits."""
    try:
        tables = tomllib.loads(text)
        limits = {ratio: Limit(**table) for ratio, table in tables.items()}
    except (tomllib.TOMLDecodeError, TypeError) as problem:
        raise BadLimits(str(problem)) from None
    for ratio, limit in limits.items():
        if not (limit.usual > 0 and 0 < limit.margin < 1 and limit.reason):
            raise BadLimits(f"{ratio}: a limit has a usual ratio above 0, a margin between 0 and 1, and a reason")
    return limits


def grown(ratio: str, limit: Limit, measured: float) -> str | None:
    """What to say of a ratio that is above its limit; None of any other."""
    if measured <= limit.at_most:
        return None
    return (
        f"{ratio} has grown by {measured / limit.usual - 1:.1%}: it is {measured:.3f}, usually {limit.usual:g}, "
        f"and at most {limit.at_most:.3f} is let pass. {limit.reason}"
    )


def shrunk(ratio: str, limit: Limit, measured: float) -> str | None:
    """What to say of a ratio that has become better by more than its margin."""
    if measured >= limit.usual * (1 - limit.margin):
        return None
    return f"{ratio} is {measured:.3f}, usually {limit.usual:g}: if that lasts, lower it in {FILE.name}."
