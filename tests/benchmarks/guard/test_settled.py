"""A ratio above its limit is measured once more before it is judged."""

from __future__ import annotations

from benchmarks.guard import limits
from benchmarks.guard.__main__ import Figures, Measure, Ratios, said, settled
from benchmarks.guard.limits import Limit
from benchmarks.rounds import spread

BOUNDS = {"a": Limit(1.0, 0.1, "why"), "b": Limit(1.0, 0.1, "why")}


class Takes:
    """A measure that shows one after another of these."""

    def __init__(self, *shown: tuple[float, float]) -> None:
        self._shown = list(shown)
        self.taken = 0

    def __call__(self) -> tuple[Ratios, Figures]:
        a, b = self._shown[self.taken]
        self.taken += 1
        return {"a": spread([a]), "b": spread([b])}, {"taken": float(self.taken)}


def judged(takes: Takes) -> list[str]:
    ratios, _ = settled(Measure(("a", "b"), lambda: None, takes), BOUNDS)
    return [text.split()[0] for text in said(limits.grown, ratios, BOUNDS)]


def test_what_is_within_its_limit_is_measured_once() -> None:
    takes = Takes((1.0, 1.05))
    assert judged(takes) == []
    assert takes.taken == 1


def test_a_disturbance_that_does_not_come_again_is_forgiven() -> None:
    takes = Takes((1.5, 1.0), (1.0, 1.5))
    assert judged(takes) == []
    assert takes.taken == 2


def test_what_is_above_its_limit_twice_has_grown() -> None:
    assert judged(Takes((1.5, 1.0), (1.4, 1.0))) == ["a"]
