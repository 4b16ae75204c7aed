"""Contenders that take turns, and what their rounds say.

Rules of the file
- In a round each contender has one turn, so that whatever else a machine does meets all of them alike.
- Every other round goes backwards: who comes right after a heavy neighbour is not always the same.
- A ratio is taken within each round; of the rounds the median counts, and the least and the most are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Spread(NamedTuple):
    """What several rounds said."""

    median: float
    minimum: float
    maximum: float


def interleave(measurements: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each contender's turns returned, round by round."""
    seen: dict[str, list[T]] = {name: [] for name in measurements}
    for number in range(rounds):
        for name in list(measurements)[:: -1 if number % 2 else 1]:
            seen[name].append(measurements[name]())
    return seen


class Measurement(Protocol):
    """What a turn showed, whoever took it."""

    @property
    def per_second(self) -> float: ...

    @property
    def cpu_us(self) -> float: ...


def ratios_to_others(taken: Mapping[str, Sequence[Measurement]], where: str, cpu: str) -> dict[str, Spread]:
    """Of the contender `ours` over each other one, by rate and by CPU time; above 1 ours is better."""
    ours, ratios = taken["tokensvc"], {}
    for name, theirs in taken.items():
        if name != "tokensvc":
            rates = [one.per_second for one in ours], [one.per_second for one in theirs]
            ratios[f"{where}, tokensvc / {name}"] = ratio(*rates)
            ratios[f"{where}, tokensvc / {name}, {cpu}"] = ratio(
                [one.cpu_us for one in theirs], [one.cpu_us for one in ours]
            )
    return ratios


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratio(some: Sequence[float], others: Sequence[float]) -> Spread:
    """One contender's figures over another's, round by round."""
    return spread([one / other for one, other in zip(some, others, strict=True)])
