"""The intended send times: a pure function of the plan.

Invariants
- A schedule never depends on the server. It defines times; a sender is on time or late.
- Arrivals have a rate of one per unit of *load*, evenly spaced or as a Poisson process. The stages map load to time: by
  the inverse of the cumulative number of requests over time.
- Several generators share one schedule, each sending every n-th request: together they send exactly the plan.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

Arrivals = Literal["even", "poisson"]


class Stage(NamedTuple):
    """A period in which the rate changes linearly from one value to another, in requests per second."""

    seconds: float
    from_rate: float
    to_rate: float

    @property
    def requests(self) -> float:
        return (self.from_rate + self.to_rate) / 2 * self.seconds

    def instant_of(self, load: float) -> float:
        """Seconds into the stage at which `load` of its requests are due."""
        if load <= 0:
            return 0.0
        slope = (self.to_rate - self.from_rate) / self.seconds
        rate_then = math.sqrt(max(0.0, self.from_rate**2 + 2 * slope * load))
        return min(self.seconds, 2 * load / (self.from_rate + rate_then))


def instants(stages: Sequence[Stage], arrivals: Arrivals, seed: int) -> Iterator[float]:
    """The send times of all requests in order, in seconds from the start."""
    loads = _even_loads() if arrivals == "even" else _poisson_loads(random.Random(seed))
    load = next(loads)
    load_before, started_at = 0.0, 0.0
    for stage in stages:
        while load < load_before + stage.requests:
            yield started_at + stage.instant_of(load - load_before)
            load = next(loads)
        load_before += stage.requests
        started_at += stage.seconds


def share(schedule: Iterator[float], number: int, total: int) -> Iterator[float]:
    """The part of generator `number` (from 0) of `total`."""
    return islice(schedule, number, None, total)


def _even_loads() -> Iterator[float]:
    """The middle of each unit: the first request is not due at the start, where the rate of a ramp is still 0."""
    number = 0
    while True:
        yield number + 0.5
        number += 1


def _poisson_loads(random_source: random.Random) -> Iterator[float]:
    load = 0.0
    while True:
        load += random_source.expovariate(1.0)
        yield load
