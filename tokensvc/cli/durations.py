"""Durations in options: `90s`, `5m`, `2h`, `1d`, `1h30m`, or plain seconds.

Invariants
- Every option that takes a duration takes these forms, has the metavar DURATION, and no unit in its name.
- Units are written from the largest to the smallest, each at most once, so that every duration has one meaning. They
  are lower-case: an `M` could be minutes or months.
- Limits and defaults are shown in the same form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

METAVAR = "DURATION"
RULE = "must be a duration such as 90s, 5m, 2h, 1d or 1h30m, or a number of seconds"
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_COUNT = "[0-9]{1,12}"
_WITH_UNITS = re.compile("(?=.)" + "".join(f"(?:({_COUNT}){unit})?" for unit in _UNITS), re.ASCII)
_SECONDS = re.compile(rf"{_COUNT}(\.[0-9]{{1,6}})?", re.ASCII)


def parse_duration(text: str) -> float:
    """The number of seconds; a whole number unless plain seconds have a decimal point. Raises ValueError."""
    if found := _WITH_UNITS.fullmatch(text):
        return sum(int(count or 0) * seconds for count, seconds in zip(found.groups(), _UNITS.values(), strict=True))
    if found := _SECONDS.fullmatch(text):
        return float(text) if found[1] else int(text)
    if text.startswith("-"):
        raise ValueError("must not be negative")
    raise ValueError(RULE)


def format_limit(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as this number of seconds: `7d`, `90s`, `0.01s`."""
    if seconds != int(seconds):
        return f"{seconds:g}s"
    unit, length = next((u, n) for u, n in _UNITS.items() if seconds % n == 0 and (seconds >= n or n == 1))
    return f"{int(seconds) // length}{unit}"


def duration_option(
    *names: str,
    help: str,  # noqa: A002 - typer's name for it
    at_least: float = 0,
    at_most: float | None = None,
    **settings: Any,
) -> Any:
    """An option whose value is a number of seconds: an integer unless `at_least` is a fraction of a second."""
    limits = f" From {format_limit(at_least)} to {format_limit(at_most)}." if at_most is not None else ""
    return typer.Option(*names, parser=_parser(at_least, at_most), metavar=METAVAR, help=help + limits, **settings)


def _parser(at_least: float, at_most: float | None) -> Callable[[Any], float]:
    takes_fractions = at_least != int(at_least)

    def duration(given: Any) -> float:
        try:
            seconds = parse_duration(str(given))
            if not takes_fractions and isinstance(seconds, float):
                raise ValueError("must be whole seconds")
            if seconds < at_least:
                raise ValueError(f"must be at least {format_limit(at_least)}")
            if at_most is not None and seconds > at_most:
                raise ValueError(f"must be at most {format_limit(at_most)}")
        except ValueError as rule:
            raise typer.BadParameter(str(rule)) from None
        return seconds

    return duration
