"""The limits of a run and the options that set them.

Invariants
- The generator's scheduling delay always has a limit: above it, latencies include the generator's own delay and the run
  is invalid.
- p99 and error rate have limits if the caller sets them; a run that exceeds one is valid and has its own exit code.
- Merged runs are checked against the strictest of their limits, unless the merge sets its own.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

SCHEDULING_DELAY_MS = 1.0


class Limits(BaseModel):
    """The limits of a run; None means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheduling_delay_ms: float = SCHEDULING_DELAY_MS
    p99_ms: float | None = None
    error_rate: float | None = None

    def changed(self, options: argparse.Namespace) -> Limits:
        """These limits, overridden by those of the command line."""
        given = {name: getattr(options, name) for name in Limits.model_fields}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})


def strictest(several: Iterable[Limits]) -> Limits:
    """The minimum of each limit that is set."""
    rows = [one.model_dump() for one in several]
    return Limits.model_validate({name: _least(row[name] for row in rows) for name in Limits.model_fields})


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--max-scheduling-delay, --max-p99 and --max-error-rate."""
    group = parser.add_argument_group("limits")
    add: Any = group.add_argument
    add(
        "--max-scheduling-delay",
        type=_milliseconds,
        dest="scheduling_delay_ms",
        metavar="MS",
        help="maximum p99 of a generator's scheduling delay; a run above it is invalid, exit code 1 "
        f"(default {SCHEDULING_DELAY_MS:g})",
    )
    add(
        "--max-p99",
        type=_milliseconds,
        dest="p99_ms",
        metavar="MS",
        help="maximum p99 latency; a run above it has exit code 3",
    )
    add(
        "--max-error-rate",
        type=_share,
        dest="error_rate",
        metavar="SHARE",
        help="maximum share of failed requests, such as 0.001 or 0.1%%; a run above it has exit code 3",
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
        return math.nan  # no comparison is true for it, so the caller rejects it with its own message
