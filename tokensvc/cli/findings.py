"""What `tokensvc doctor` finds.

Invariants
- What is not well has a fix: one line for a shell that ends the finding, then, where it needs one, a note in
  parentheses after three spaces. A word in capitals (FILE, URL, NAME) is for the reader to fill in.
- A finding that another one's fix ends comes after that one.
"""

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
    """What came of it, or None and its failure as a finding; `mend` is for a failure that has no remedy of its own."""
    try:
        return act(), Finding(True, what, "")
    except TokensvcError as failure:
        return None, Finding(False, what, "; ".join(failure.for_operators.splitlines()), failure.remedy or mend)
