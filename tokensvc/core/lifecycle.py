"""The life of a key in one place, as a table.

Rules of the file
- A key is prepared (IVS holds it, nobody signs with it), active (we sign with it), retiring (IVS still admits its
  tokens), retired (IVS holds it no more).
- Publish before use: only a prepared key becomes active. Drain before delete: only a retiring key, or one that never
  signed, is retired.
- Every move is in MOVES; whoever stores states checks against it.
"""

from __future__ import annotations

from enum import StrEnum


class KeyState(StrEnum):
    """What a key pair is, in one account and region."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"


MOVES: dict[KeyState, frozenset[KeyState]] = {
    KeyState.PREPARED: frozenset({KeyState.ACTIVE, KeyState.RETIRED}),
    KeyState.ACTIVE: frozenset({KeyState.RETIRING}),
    KeyState.RETIRING: frozenset({KeyState.RETIRED}),
    KeyState.RETIRED: frozenset(),
}

HELD_BY_IVS = frozenset({KeyState.PREPARED, KeyState.ACTIVE, KeyState.RETIRING})
"""States in which IVS holds the public half, so that the pair fills one of the place's slots."""
