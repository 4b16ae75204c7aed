"""What `tokensvc doctor` finds.

Invariants
- What is not well has a fix: one line for a shell that ends the finding, then, where it needs one, a note in
  parentheses after three spaces. A word in capitals (FILE, URL, NAME) is for the reader to fill in.
- A finding that another one's fix ends comes after that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tokensvc.cli.remedies import RECONCILE, command_of, setting_name
from tokensvc.errors import SettingsError, TokensvcError

_T = TypeVar("_T")


class Finding(NamedTuple):
    """One thing looked at: whether it is well, what was found, and what mends it."""

    ok: bool
    check: str
    detail: str
    fix: str = ""
    needs_ivs: bool = False
    """Whether the fix calls IVS, so that what IVS says must be fixed first."""


def try_check(check: str, act: Callable[[], _T], fix: str) -> tuple[_T | None, Finding]:
    """What came of it, or None and its failure as a finding; `mend` is for a failure that has no remedy of its own."""
    try:
        return act(), Finding(True, check, "")
    except TokensvcError as failure:
        return None, failure_finding(check, failure, fix)


def failure_finding(check: str, error: TokensvcError, fix: str) -> Finding:
    """A failure as a finding, with its own remedy, or with `mend`."""
    words = (
        [f"{setting_name(e.field)}: {e.message}" for e in error.errors] if isinstance(error, SettingsError) else []
    )
    detail = "; ".join(words) or "; ".join(error.operator_message.splitlines())
    return Finding(False, check, detail, command_of(error.remedy) if error.remedy else fix)


def needs_reconcile(check: str, detail: str, note: str = "", *, ok: bool = False) -> Finding:
    """What the rotation ends when it goes on."""
    return Finding(ok, check, detail, command_of(RECONCILE) + (f"   ({note})" if note else ""), needs_ivs=True)
