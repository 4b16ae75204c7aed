"""Interleaved rounds of measurements, and ratios over them.

Invariants
- Each round measures each contender once, so that other load on the machine affects all of them alike.
- Every other round runs in reverse order, so that it is not always the same contender that follows a heavy one.
- A ratio is computed within each round; the median of the rounds counts, and minimum and maximum are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Spread(NamedTuple):
    """A value over several rounds."""

    median: float
    minimum: float
    maximum: float


def interleave(measurements: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every measurement once per round; each contender's results, in the order of the rounds."""
    results: dict[str, list[T]] = {name: [] for name in measurements}
    for number in range(rounds):
        for name in list(measurements)[:: -1 if number % 2 else 1]:
            results[name].append(measurements[name]())
    return results


class Measurement(Protocol):
    """One measurement of a contender: its throughput and its cost."""

    @property
    def per_second(self) -> float: ...

    @property
    def cpu_us(self) -> float: ...


def ratios_to_others(results: Mapping[str, Sequence[Measurement]], where: str, cpu: str) -> dict[str, Spread]:
    """Ratios of the contender `tokensvc` to each other one, by rate and by CPU time; above 1, tokensvc is better."""
    own, ratios = results["tokensvc"], {}
    for name, other in results.items():
        if name != "tokensvc":
            rates = [one.per_second for one in own], [one.per_second for one in other]
            ratios[f"{where}, tokensvc / {name}"] = ratio(*rates)
            ratios[f"{where}, tokensvc / {name}, {cpu}"] = ratio(
                [one.cpu_us for one in other], [one.cpu_us for one in own]
            )
    return ratios


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(median(values), min(values), max(values))


def difference(values: Sequence[float], others: Sequence[float]) -> Spread:
    """One contender's figures less another's, round by round."""
    return spread([one - other for one, other in zip(values, others, strict=True)])


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """One contender's figures divided by another's, round by round."""
    return spread([one / other for one, other in zip(numerators, denominators, strict=True)])
