"""One finding of `tokensvc doctor`.

Invariants
- Every failed check has a fix: one shell command line that resolves it, then, where needed, a note in parentheses after
  three spaces. A word in capitals (FILE, URL, NAME) is for the reader to fill in.
- A finding that another finding's fix resolves comes after that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tokensvc.cli.remedies import RECONCILE, command_of, setting_name
from tokensvc.errors import SettingsError, TokensvcError

_T = TypeVar("_T")


class Finding(NamedTuple):
    """The result of one check, and the fix if it failed."""

    ok: bool
    check: str
    """What was checked."""
    detail: str
    fix: str = ""
    needs_ivs: bool = False
    """Whether the fix calls IVS, so that problems found in IVS must be fixed first."""


def try_check(check: str, function: Callable[[], _T], fix: str) -> tuple[_T | None, Finding]:
    """The function's result, or None and its failure as a finding; `fix` is for a failure without a remedy."""
    try:
        return function(), Finding(True, check, "")
    except TokensvcError as failure:
        return None, failure_finding(check, failure, fix)


def failure_finding(check: str, error: TokensvcError, fix: str) -> Finding:
    """A failure as a finding, with its own remedy or else with `fix`."""
    messages = (
        [f"{setting_name(e.field)}: {e.message}" for e in error.errors] if isinstance(error, SettingsError) else []
    )
    detail = "; ".join(messages) or "; ".join(error.operator_message.splitlines())
    return Finding(False, check, detail, command_of(error.remedy) if error.remedy else fix)


def needs_reconcile(check: str, detail: str, note: str = "", *, ok: bool = False) -> Finding:
    """A finding that the reconciler resolves."""
    return Finding(ok, check, detail, command_of(RECONCILE) + (f"   ({note})" if note else ""), needs_ivs=True)
