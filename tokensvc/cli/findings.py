"""What `tokensvc doctor` finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tokensvc.errors import TokensvcError

_T = TypeVar("_T")


class Finding(NamedTuple):
    """One thing looked at: whether it is well, what was found, and what mends it."""

    well: bool
    what: str
    found: str
    mend: str = ""


def attempt(what: str, act: Callable[[], _T], mend: str) -> tuple[_T | None, Finding]:
    """What came of it, or None and its failure as a finding."""
    try:
        return act(), Finding(True, what, "")
    except TokensvcError as failure:
        return None, Finding(False, what, "; ".join(failure.for_operators.splitlines()), mend)
