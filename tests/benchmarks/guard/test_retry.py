"""A ratio above its limit is measured again before it counts as a regression."""

from __future__ import annotations

from benchmarks.guard import limits
from benchmarks.guard.__main__ import Figures, Measurement, Ratios, measure_with_retry, messages
from benchmarks.guard.limits import Limit
from benchmarks.rounds import spread

LIMITS = {"a": Limit(1.0, 0.1, "a reason"), "b": Limit(1.0, 0.1, "a reason")}


class MeasurementSequence:
    """A measurement that returns these values one after another."""

    def __init__(self, *shown: tuple[float, float]) -> None:
        self._values = list(shown)
        self.taken = 0

    def __call__(self) -> tuple[Ratios, Figures]:
        a, b = self._values[self.taken]
        self.taken += 1
        return {"a": spread([a]), "b": spread([b])}, {"taken": float(self.taken)}


def regressions(sequence: MeasurementSequence) -> list[str]:
    ratios, _ = measure_with_retry(Measurement(("a", "b"), lambda: None, sequence), LIMITS)
    return [text.split()[0] for text in messages(limits.regression, ratios, LIMITS)]


def test_a_ratio_within_its_limit_is_measured_once() -> None:
    sequence = MeasurementSequence((1.0, 1.05))
    assert regressions(sequence) == []
    assert sequence.taken == 1


def test_a_disturbance_of_one_measurement_is_not_a_regression() -> None:
    sequence = MeasurementSequence((1.5, 1.0), (1.0, 1.5))
    assert regressions(sequence) == []
    assert sequence.taken == 2


def test_a_ratio_above_its_limit_twice_is_a_regression() -> None:
    assert regressions(MeasurementSequence((1.5, 1.0), (1.4, 1.0))) == ["a"]
