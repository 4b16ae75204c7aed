"""Faults on request: which call fails, and how. A plan and its dice; whoever serves calls does what is drawn.

Rules of the file
- A fault names an operation, or `*` for all, and a rate from 0 to 1; with a count it ends after so many were drawn.
- Each fault rolls dice of its own, made of its seed: the same seed and the same calls to it give the same outcomes,
  whatever other faults are planned.
- Of several faults that fit a call, the one that was planned first and strikes is drawn.
- Nothing is written down: a restart ends all faults.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

ALL_OPERATIONS = "*"


class FaultKind(StrEnum):
    """What can go wrong."""

    THROTTLE = "throttle"
    """ThrottlingException, without effect."""
    ERROR = "error"
    """InternalServerException, without effect."""
    DELAY = "delay"
    """The call takes effect; its answer comes late."""
    DROP_BEFORE = "drop-before"
    """The connection is closed without an answer and without effect."""
    DROP_AFTER = "drop-after"
    """The connection is closed without an answer, after the effect."""
    ENTRY_ERROR = "entry-error"
    """An entry of BatchStartViewerSessionRevocation becomes one of the answer's `errors`, without effect. Dice are
    rolled for each entry."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: FaultKind
    operation: str = ALL_OPERATIONS
    rate: float = 1.0
    count: int | None = None
    """How often at most; None for no end."""
    delay_seconds: float = 0.0
    seed: int = 0


@dataclass
class PlannedFault:
    """A fault, its dice, and how often it was drawn."""

    number: int
    fault: Fault
    drawn: int = 0
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.fault.seed)  # noqa: S311 - it must be foretold, not unguessable

    def strikes(self, operation: str) -> bool:
        """Whether this call is hit."""
        fault = self.fault
        if fault.operation not in (operation, ALL_OPERATIONS) or self.drawn == fault.count:
            return False
        if self._dice.random() >= fault.rate:
            return False
        self.drawn += 1
        return True


class Faults:
    """What is planned. Safe to share among threads."""

    def __init__(self) -> None:
        self._planned: list[PlannedFault] = []
        self._numbers = 0
        self._lock = threading.Lock()

    def plan(self, fault: Fault) -> PlannedFault:
        """Let this happen from now on."""
        with self._lock:
            self._numbers += 1
            planned = PlannedFault(self._numbers, fault)
            self._planned.append(planned)
            return planned

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._planned.clear()

    def planned(self) -> Iterable[PlannedFault]:
        with self._lock:
            return tuple(self._planned)

    def draw(self, operation: str) -> Fault | None:
        """What goes wrong with this call, or None."""
        if not self._planned:
            return None
        with self._lock:
            whole = (planned for planned in self._planned if planned.fault.kind is not FaultKind.ENTRY_ERROR)
            return next((planned.fault for planned in whole if planned.strikes(operation)), None)

    def draw_entry(self, operation: str) -> bool:
        """Whether one entry of this call goes wrong by itself."""
        if not self._planned:
            return False
        with self._lock:
            entries = (planned for planned in self._planned if planned.fault.kind is FaultKind.ENTRY_ERROR)
            return any(planned.strikes(operation) for planned in entries)
