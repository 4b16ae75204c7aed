"""Fault injection: which calls fail, and how. This is only the plan; the HTTP application applies what is drawn.

Invariants
- A fault names an operation, or `*` for all, and a rate from 0 to 1. With a count it ends after that many calls.
- Each fault has its own random generator with its own seed: the same seed and the same calls give the same outcomes,
  whatever other faults are planned.
- If several faults apply to a call, the one planned first is drawn.
- Nothing is stored: a restart ends all faults.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

ALL_OPERATIONS = "*"


class FaultKind(StrEnum):
    """What goes wrong."""

    THROTTLE = "throttle"
    """ThrottlingException, without effect."""
    ERROR = "error"
    """InternalServerException, without effect."""
    DELAY = "delay"
    """The call takes effect, and its response is delayed."""
    DROP_BEFORE = "drop-before"
    """The connection is closed without a response and without effect."""
    DROP_AFTER = "drop-after"
    """The connection is closed without a response, after the effect."""
    ENTRY_ERROR = "entry-error"
    """An entry of BatchStartViewerSessionRevocation becomes one of the response's `errors`, without effect. Drawn for
    each entry."""


@dataclass(frozen=True)
class Fault:
    """A fault to inject."""

    kind: FaultKind
    operation: str = ALL_OPERATIONS
    rate: float = 1.0
    count: int | None = None
    """The maximum number of affected calls; None for no maximum."""
    delay_seconds: float = 0.0
    seed: int = 0


@dataclass
class PlannedFault:
    """A fault, its random generator, and the number of calls that it has affected."""

    number: int
    fault: Fault
    drawn: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.fault.seed)  # noqa: S311 - must be reproducible, not unpredictable

    def draw(self, operation: str) -> bool:
        """Whether the fault applies to this call of an operation."""
        fault = self.fault
        if fault.operation not in (operation, ALL_OPERATIONS) or self.drawn == fault.count:
            return False
        if self._random.random() >= fault.rate:
            return False
        self.drawn += 1
        return True


class Faults:
    """All planned faults. Thread-safe."""

    def __init__(self) -> None:
        self._planned: list[PlannedFault] = []
        self._last_number = 0
        self._lock = threading.Lock()

    def plan(self, fault: Fault) -> PlannedFault:
        """Inject this fault from now on."""
        with self._lock:
            self._last_number += 1
            planned = PlannedFault(self._last_number, fault)
            self._planned.append(planned)
            return planned

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._planned.clear()

    def planned(self) -> Iterable[PlannedFault]:
        with self._lock:
            return tuple(self._planned)

    def draw(self, operation: str) -> Fault | None:
        """The fault that applies to this call, if any."""
        if not self._planned:
            return None
        with self._lock:
            of_calls = (planned for planned in self._planned if planned.fault.kind is not FaultKind.ENTRY_ERROR)
            return next((planned.fault for planned in of_calls if planned.draw(operation)), None)

    def draw_entry(self, operation: str) -> bool:
        """Whether a fault applies to one entry of this call."""
        if not self._planned:
            return False
        with self._lock:
            of_entries = (planned for planned in self._planned if planned.fault.kind is FaultKind.ENTRY_ERROR)
            return any(planned.draw(operation) for planned in of_entries)
