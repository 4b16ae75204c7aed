"""What a run is held to, and the options that set it.

Rules of the file
- The generator's scheduling delay always has a limit: beyond it, latencies include the generator's own and the run is
  invalid.
- p99 and error rate have one where the caller sets it; a run beyond it is valid and has its own exit code.
- Runs that are merged are held to the strictest limits among them, unless the merge sets its own.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

LATENESS_MS = 1.0


class Limits(BaseModel):
    """None: no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lateness_ms: float = LATENESS_MS
    p99_ms: float | None = None
    error_rate: float | None = None

    def changed(self, options: argparse.Namespace) -> Limits:
        """These limits, with those that the command line sets."""
        given = {name: getattr(options, name) for name in Limits.model_fields}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})


def strictest(several: Iterable[Limits]) -> Limits:
    """For each limit the least that is set."""
    rows = [one.model_dump() for one in several]
    return Limits.model_validate({name: _least(row[name] for row in rows) for name in Limits.model_fields})


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--max-lateness, --max-p99 and --max-error-rate."""
    group = parser.add_argument_group("limits")
    add: Any = group.add_argument
    add(
        "--max-lateness",
        type=_milliseconds,
        dest="lateness_ms",
        metavar="MS",
        help="a p99 scheduling delay of a generator above this makes the run invalid, exit code 1 "
        f"(default {LATENESS_MS:g})",
    )
    add(
        "--max-p99",
        type=_milliseconds,
        dest="p99_ms",
        metavar="MS",
        help="a p99 latency above this is exit code 3",
    )
    add(
        "--max-error-rate",
        type=_share,
        dest="error_rate",
        metavar="SHARE",
        help="failed requests above this share of all, as 0.001 or 0.1%%, are exit code 3",
    )


def _milliseconds(text: str) -> float:
    if not 0 < (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError("must be a number of milliseconds above 0")
    return value


def _share(text: str) -> float:
    value = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be a share from 0 to 1, or a percentage such as 0.1%")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # no comparison holds for it, so the caller refuses it in its own words
