"""Problems in tests: made of a sentence, and put into words."""

from __future__ import annotations

from collections.abc import Iterable

from tokensvc.problems import Problem, ProblemCode, problem_text


def make_problem(text: str) -> Problem:
    """A problem whose text this is, of no region."""
    return Problem(ProblemCode.INVALID_ROTATION_POLICY, parameters={"reason": text})


def texts(problems: Iterable[Problem]) -> list[str]:
    """Each problem in words."""
    return [problem_text(problem) for problem in problems]
