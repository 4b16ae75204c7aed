"""Journal of lifecycle steps: each step is recorded before it is executed and after.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.keys.lifecycle import StepKind


class JournalEntry(NamedTuple):
    """One step. If `finished_at` is None, the step was started and may or may not have had its effect."""

    id: int
    kind: StepKind
    key_id: str
    region: str
    """"" for generating a key, which concerns no region."""
    reason: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    """`done`, or an error code."""


class Journal(Protocol):
    """The steps of the lifecycle, in order."""

    def start(self, kind: StepKind, key_id: str, region: str, reason: str, at: datetime) -> JournalEntry:
        """Record a step before it is executed. If the same step is open already, returns that entry."""
        ...

    def finish(self, entry_id: int, outcome: str, at: datetime) -> None:
        """Record the outcome of a step; does nothing if one is recorded already."""
        ...

    def open_entries(self) -> list[JournalEntry]:
        """All entries that are not finished, oldest first."""
        ...

    def history(self, key_id: str | None, limit: int) -> list[JournalEntry]:
        """The newest entries, of one key or of all, newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Delete the entries that finished before that time; returns their number."""
        ...
