"""What was begun, and how it ended: each step of a key's life is noted before it is taken and after.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.keys.lifecycle import StepKind


class JournalEntry(NamedTuple):
    """One step. Without `finished_at` it was begun and may or may not have had its effect."""

    id: int
    kind: StepKind
    key_id: str
    region: str
    """"" for a step that concerns no region: making a key."""
    reason: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    """`done`, or a failure's code."""


class Journal(Protocol):
    """The steps of the lifecycle, in order."""

    def start(self, kind: StepKind, key_id: str, region: str, reason: str, at: datetime) -> JournalEntry:
        """Note a step before it is taken; the entry that is still open, when the same step was begun before."""
        ...

    def finish(self, entry_id: int, outcome: str, at: datetime) -> None:
        """Note how a step ended; nothing happens when that was noted already."""
        ...

    def open_entries(self) -> list[JournalEntry]:
        """All entries that have not ended, oldest first."""
        ...

    def history(self, key_id: str | None, limit: int) -> list[JournalEntry]:
        """The newest entries, of one key or of all, newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Forget entries that ended before then; how many."""
        ...
