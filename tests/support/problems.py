"""Problems for tests: made from a sentence, and rendered as text."""

from __future__ import annotations

from collections.abc import Iterable

from tokensvc.problems import Problem, ProblemCode, problem_text


def make_problem(text: str) -> Problem:
    """A problem with this text and no region."""
    return Problem(ProblemCode.INVALID_ROTATION_POLICY, parameters={"reason": text})


def texts(problems: Iterable[Problem]) -> list[str]:
    """The text of each problem."""
    return [problem_text(problem) for problem in problems]
